// The samples: a strip for each prompt, step 0 first; and one of them large, with a slider along the steps.
const sample_view = (section, prompt_with) => {
  const { make, is_going } = atelier,
    COLUMNS = 6;
  const nothing = section.querySelector('.nothing'),
    scroll = section.querySelector('.scroll'),
    table = section.querySelector('table');
  let run = null,
    steps = [],
    prompts = [],
    coming = [], // the next steps that samples are drawn at, as far as there is room
    shown = '';

  const sample_at = (step, prompt) => run.samples.find((each) => each.step === step && each.prompt === prompt);
  const named = (step) => (step ? `Step ${step.toLocaleString()}` : 'Before training');

  const strip = (prompt) => [
    make(
      'tr',
      { class: 'prompt' },
      make(
        'th',
        { scope: 'rowgroup', colspan: steps.length + coming.length },
        make('span', { text: prompt || 'Without a prompt' }),
      ),
    ),
    make(
      'tr',
      {},
      ...steps.map((step) => {
        const sample = sample_at(step, prompt);
        return make(
          'td',
          {},
          sample
            ? make(
                'button',
                {
                  type: 'button',
                  'aria-label': `Sample of “${prompt}” at step ${step}, enlarge`,
                  onclick: () => enlarge(sample),
                },
                make('img', { src: sample.url, alt: '', loading: 'lazy', decoding: 'async', width: 128, height: 128 }),
              )
            : null,
        );
      }),
      ...coming.map(() => make('td', { class: 'coming' }, make('span'))),
    ),
  ];
  const next_steps = () => {
    const room = matchMedia('(max-width: 700px)').matches ? 0 : COLUMNS - steps.length,
      every = run.saves_every;
    if (!every || !is_going(run) || room <= 0) return [];
    const next = [];
    for (
      let step = (Math.floor(steps.at(-1) / every) + 1) * every;
      step < run.steps && next.length < room;
      step += every
    )
      next.push(step);
    return next.length < room && steps.at(-1) < run.steps ? [...next, run.steps] : next;
  };
  const show = (news) => {
    run = news;
    const key = `${run.run_id} ${run.attempt} ${run.samples.length} ${run.steps} ${is_going(run)}`;
    nothing.hidden = run.samples.length > 0;
    scroll.hidden = run.samples.length === 0;
    if (key === shown) return;
    const at_end = scroll.scrollLeft > 0 && scroll.scrollLeft + scroll.clientWidth > scroll.scrollWidth - 24;
    shown = key;
    steps = [...new Set(run.samples.map((sample) => sample.step))].sort((a, b) => a - b);
    prompts = [...new Set(run.samples.map((sample) => sample.prompt))];
    coming = steps.length ? next_steps() : [];
    table.style.setProperty('--steps', steps.length + coming.length);
    section.classList.toggle('many', steps.length > COLUMNS);
    table.replaceChildren(
      make(
        'thead',
        {},
        make(
          'tr',
          {},
          ...steps.map((step) =>
            make(
              'th',
              { scope: 'col' },
              make('b', { text: step.toLocaleString() }),
              step ? null : document.createTextNode(' · untrained'),
            ),
          ),
          ...coming.map((step) => make('th', { scope: 'col', class: 'coming', text: step.toLocaleString() })),
        ),
      ),
      ...prompts.map((prompt) => make('tbody', {}, ...strip(prompt))),
    );
    // Whoever looks at the newest goes on seeing the newest.
    if (at_end) scroll.scrollLeft = scroll.scrollWidth;
  };

  // ---------------------------------------------------------------- one of them, large

  const enlarge = ({ step, prompt }) => {
    let at = steps.indexOf(step),
      row = prompts.indexOf(prompt);
    const image = make('img', { alt: '' }),
      before = make('img', { alt: '' }),
      words = make('p', { class: 'words' }),
      label = make('b', { role: 'status' });
    const slider = make('input', {
      type: 'range',
      class: 'track',
      min: 0,
      max: steps.length - 1,
      step: 1,
      'aria-label': 'Step',
    });
    const use = make('button', {
      type: 'button',
      class: 'button',
      text: 'Prompt this checkpoint',
      onclick: () => {
        dialog.close();
        prompt_with(kept().key);
      },
    });
    const kept = () => run.checkpoints.find((each) => each.step === steps[at]);
    const draw = () => {
      const there = sample_at(steps[at], prompts[row]),
        first = sample_at(steps[0], prompts[row]);
      image.hidden = !there;
      if (there) image.src = there.url;
      image.alt = `${named(steps[at])}: ${prompts[row]}`;
      before.closest('figure').hidden = !first || at === 0;
      if (first) before.src = first.url;
      before.alt = `${named(steps[0])}: ${prompts[row]}`;
      slider.value = at;
      slider.style.setProperty('--part', steps.length > 1 ? `${(100 * at) / (steps.length - 1)}%` : '100%');
      slider.setAttribute('aria-valuetext', named(steps[at]));
      label.textContent = named(steps[at]);
      words.textContent = prompts[row];
      use.hidden = !kept();
    };
    const go = (along, down) => {
      at = Math.min(steps.length - 1, Math.max(0, at + along));
      row = Math.min(prompts.length - 1, Math.max(0, row + down));
      draw();
    };
    const dialog = make(
      'dialog',
      { class: 'atelier-dialog atelier-sample', 'aria-label': 'Samples along the steps' },
      make(
        'div',
        { class: 'pair' },
        make('figure', { class: 'before' }, before, make('figcaption', { text: named(steps[0]) })),
        make('figure', {}, image, make('figcaption', {}, label)),
      ),
      words,
      make(
        'div',
        { class: 'along' },
        make('small', { text: steps[0].toLocaleString() }),
        slider,
        make('small', { text: steps.at(-1).toLocaleString() }),
      ),
      make(
        'div',
        { class: 'dialog-buttons' },
        make('small', { class: 'keys', text: prompts.length > 1 ? '← → steps, ↑ ↓ prompts' : '← → steps' }),
        use,
        make('button', { type: 'button', class: 'button primary', text: 'Close', onclick: () => dialog.close() }),
      ),
    );
    const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    dialog.addEventListener('keydown', (event) => {
      if (!MOVES[event.key]) return;
      event.preventDefault();
      go(...MOVES[event.key]);
    });
    slider.addEventListener('input', () => {
      at = Number(slider.value);
      draw();
    });
    slider.hidden = steps.length < 2;
    dialog.addEventListener('click', (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener('close', () => dialog.remove());
    document.querySelector('.gradio-container').append(dialog);
    draw();
    dialog.showModal();
    slider.focus();
  };

  return {
    clear: () => {
      shown = '';
      run = null;
      scroll.scrollLeft = 0;
    },
    show,
  };
};
