// The checkpoints of a training, the newest first, each to prompt with or to download.
const checkpoint_list = (section, prompt_with) => {
  const { make, button, bytes, is_going } = atelier;
  const nothing = section.querySelector('.nothing'),
    compare = section.querySelector('.compare');
  let run = null,
    shown = '';

  const row = (checkpoint) =>
    make(
      'li',
      {},
      make('b', { text: `Step ${checkpoint.step.toLocaleString()}` }),
      make('small', { text: bytes(checkpoint.bytes) }),
      button('Prompt with it', () => prompt_with(checkpoint.key), 'small'),
      make('a', { class: 'button small', href: checkpoint.download, download: '', text: 'Download' }),
    );
  compare.addEventListener('click', () => atelier.compare_checkpoints(run.run_id));

  return {
    clear: () => {
      shown = '';
    },
    show: (news) => {
      run = news;
      nothing.hidden = run.checkpoints.length > 0;
      nothing.textContent =
        run.saves_every && is_going(run)
          ? `The first one is saved at step ${Math.min(run.saves_every, run.steps).toLocaleString()}, and can be prompted right away.`
          : 'None were saved.';
      compare.hidden = run.checkpoints.length < 2;
      const key = `${run.run_id} ${run.checkpoints.map((each) => each.step)}`;
      if (key === shown) return;
      shown = key;
      section.querySelector('ul').replaceChildren(...[...run.checkpoints].reverse().map(row));
    },
  };
};
