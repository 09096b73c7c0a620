// How many further steps a training is to go, and what they will take. `go` is told the number.
const ask_further = (run, go) => {
  const { make, duration } = atelier,
    pace = seconds_a_step(run);
  const count = make('input', {
    type: 'number',
    min: 1,
    max: 20000,
    step: 1,
    value: Math.max(10, Math.round(run.steps / 2 / 10) * 10),
    'aria-label': 'More steps',
    class: 'entry',
  });
  const price = make('p', { class: 'price' });
  const say = () => {
    const to = run.steps + Number(count.value),
      seconds = pace * (to - run.step);
    const dollars = cost(run, seconds);
    price.textContent =
      pace && count.value > 0
        ? `It continues from step ${run.step.toLocaleString()} to ${to.toLocaleString()}: about ${duration(seconds)}${dollars && ` and ${dollars}`}, plus the time to start.`
        : '';
  };
  const form = make(
    'form',
    { method: 'dialog' },
    make('h2', { text: `Train “${run.name}” for longer` }),
    make('p', { text: 'How many more steps?' }),
    count,
    price,
    make(
      'div',
      { class: 'dialog-buttons' },
      make('button', { type: 'button', class: 'button', text: 'Not now', onclick: () => dialog.close() }),
      make('button', { type: 'submit', class: 'button primary', text: 'Continue training' }),
    ),
  );
  const dialog = make('dialog', { class: 'atelier-dialog further', 'aria-label': 'Train for longer' }, form);
  form.addEventListener('submit', () => go(Number(count.value)));
  count.addEventListener('input', say);
  dialog.addEventListener('close', () => dialog.remove());
  document.querySelector('.gradio-container').append(dialog);
  say();
  dialog.showModal();
  count.select();
};
