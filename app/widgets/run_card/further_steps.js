// How many further steps a training is to go, and what they will take. `go` is told the number.
const ask_further = (run, { pace, cost, go }) => {
  const { make, duration } = atelier;
  const count = make('input', {
    type: 'number',
    min: 1,
    max: 20000,
    step: 1,
    value: Math.max(10, Math.round(run.steps / 2 / 10) * 10),
    'aria-label': 'Further steps',
  });
  const price = make('p', { class: 'price' });
  const say = () => {
    const to = run.steps + Number(count.value),
      seconds = pace * (to - run.step);
    price.textContent =
      pace && count.value > 0
        ? `It goes on from step ${run.step.toLocaleString()} to ${to.toLocaleString()}: about ${duration(seconds)}${cost(seconds, ', or ')}, and its start.`
        : '';
  };
  const form = make(
    'form',
    { method: 'dialog' },
    make('h2', { text: `Train “${run.name}” on` }),
    make('p', { text: 'How many further steps?' }),
    count,
    price,
    make(
      'div',
      { class: 'dialog-buttons' },
      make('button', { type: 'button', class: 'button', text: 'Not now', onclick: () => dialog.close() }),
      make('button', { type: 'submit', class: 'button primary', text: 'Train on' }),
    ),
  );
  const dialog = make('dialog', { class: 'atelier-dialog further', 'aria-label': 'Train on' }, form);
  form.addEventListener('submit', () => go(Number(count.value)));
  count.addEventListener('input', say);
  dialog.addEventListener('close', () => dialog.remove());
  document.querySelector('.gradio-container').append(dialog);
  say();
  dialog.showModal();
  count.select();
};
