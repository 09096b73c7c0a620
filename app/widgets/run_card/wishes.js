// What a person may ask of a training in between: a checkpoint, or samples. `ask` sends the wish and answers whether it went.
const wishes = (ask) => {
  const KINDS = {
    save: { label: 'Save a checkpoint now', coming: 'Saving…', there: (run) => run.checkpoints.length },
    sample: { label: 'Draw samples now', coming: 'Drawing samples…', there: (run) => run.samples.length },
  };
  let asked = {};
  // It is on its way until there is one more of it.
  const is_coming = (kind, run) => kind in asked && KINDS[kind].there(run) <= asked[kind];
  const make_a_wish = async (kind, run) => {
    asked[kind] = KINDS[kind].there(run);
    if (await ask(kind))
      atelier.toast(kind === 'save' ? 'A checkpoint is saved after this step.' : 'Samples are drawn after this step.');
    else delete asked[kind];
  };
  const choice = (kind, run) => {
    const coming = is_coming(kind, run);
    return atelier.make('button', {
      type: 'button',
      disabled: coming || !run.takes_wishes,
      text: coming ? KINDS[kind].coming : KINDS[kind].label,
      onclick: () => make_a_wish(kind, run),
    });
  };

  return {
    clear: () => {
      asked = {};
    },
    choices: (run) => {
      if (run.status !== 'running') {
        asked = {};
        return [];
      }
      const why = run.takes_wishes
        ? null
        : run.phase === 'training'
          ? 'This worker saves and draws samples only on schedule.'
          : 'Available once training has started.';
      return [choice('save', run), choice('sample', run), why && atelier.make('small', { text: why })].filter(Boolean);
    },
  };
};
