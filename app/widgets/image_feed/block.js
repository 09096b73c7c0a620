// One press of Generate as a block: what was asked for, how far it is, its tiles, and what can be done.
const act = (run, label, path) =>
  make('button', {
    type: 'button',
    class: 'button small',
    text: label,
    onclick: async (event) => {
      const pressed = event.target;
      pressed.disabled = true;
      pressed.textContent = path === 'cancel' ? 'Stopping…' : 'Starting…';
      try {
        await post(`/api/runs/${run.run_id}/${path}`);
        version = '';
      } catch (error) {
        toast(error.message);
        pressed.disabled = false;
        pressed.textContent = label;
      }
      refresh();
    },
  });
const problem = (run) =>
  make(
    'div',
    { class: `problem ${run.status === 'cancelled' ? 'calm' : ''}` },
    make('p', { text: `${run.problem.message} ${run.problem.hint}`.trim() }),
    act(run, run.status === 'cancelled' ? 'Start again' : 'Retry', 'retry'),
  );
// A LoRA is called what it is called now: the picker knows.
const lora_words = ({ key, name, strength }) => `${atelier.lora_named?.(key) || name} × ${strength}`;
const about = (run) => {
  const facts = [
    run.base_model,
    `${run.width} × ${run.height}`,
    run.seed && `seed ${run.seed}`,
    ...run.loras.map(lora_words),
    run.submitted_at && ago(run.submitted_at),
  ].filter(Boolean);
  return make(
    'div',
    { class: 'about' },
    make('h3', { text: run.prompt }),
    is_going(run) && run.run_id && run.status !== 'cancelling' ? act(run, 'Cancel', 'cancel') : make('span'),
    make(
      'p',
      {},
      run.status === 'done'
        ? null
        : make(
            'span',
            { class: 'state' },
            make('i', { class: `dot ${run.status}` }),
            make('span', { text: state_words(run) }),
          ),
      ...facts.map((fact) => make('span', { text: fact })),
    ),
  );
};
const meter = (run) =>
  make(
    'div',
    {
      class: 'meter',
      role: 'progressbar',
      'aria-label': 'Progress',
      'aria-valuemin': 0,
      'aria-valuemax': 100,
      'aria-valuenow': Math.round(share(run)),
    },
    make('i', { style: `width:${share(run)}%` }),
  );
const notes = (run) => run.notes.map((note) => make('p', { class: 'note', text: note }));
const waits = (run) => ['sending', 'queued'].includes(run.status) && !run.pictures.length;
// A grid has a page of its own; here it is a line that leads there.
const grid_block = (run) =>
  make(
    'article',
    { class: 'grid' },
    make(
      'div',
      { class: 'about' },
      make('h3', { text: run.prompt }),
      make('button', {
        type: 'button',
        class: 'button small',
        text: 'Open the grid',
        onclick: () => tell('open-grid', run.grid_id),
      }),
      make('p', {}, ...['Grid', run.base_model, ago(run.submitted_at)].map((text) => make('span', { text }))),
    ),
  );
const block = (run) =>
  run.grid_id
    ? grid_block(run)
    : make(
        'article',
        { class: waits(run) ? 'waiting' : null, 'aria-busy': is_going(run) ? 'true' : null },
        about(run),
        is_going(run) ? meter(run) : null,
        run.problem ? problem(run) : make('div', { class: 'tiles', style: `--columns:${COLUMNS[run.count] || 4}` }),
        ...notes(run),
      );
