// How far a training is: what goes on just now, the bar, the figures, and the phases with their times.
const SILENT_S = 90;
const since = (at) => Math.max(0, Date.now() / 1000 - at);
const seconds_in = (run, name) => run.phases.find((phase) => phase.phase === name)?.seconds || 0;
const seconds_a_step = (run) =>
  run.seconds_per_step ?? (run.step ? seconds_in(run, 'training') / run.step || null : null);
// Waiting for a GPU costs nothing; on one's own computer nothing does.
const cost = (run, seconds) =>
  run.price_per_hour === null ? '' : `$${((seconds / 3600) * run.price_per_hour).toFixed(2)}`;

const progress_view = (card, curve) => {
  const { make, duration, rate, capital, is_going, STATUS } = atelier;
  const ORDER = [
    'queued',
    'starting',
    'fetching data',
    'loading model',
    'caching',
    'training',
    'sampling',
    'saving',
    'uploading',
  ];
  const $ = (selector) => card.querySelector(selector);
  const meter = $('.run-card > .meter');

  // What it does just now, with what its worker says of that: "Downloading FLUX.1-dev: 3.1 of 23.8 GB".
  const doing = (run) => {
    if (run.status !== 'running' || !run.phase) return STATUS[run.status];
    const phase = capital(run.phase);
    if (!run.message) return phase;
    return /^\p{Lu}/u.test(run.message) ? run.message : `${phase}: ${run.message}`;
  };
  // For whoever hears the page: each phase up to the first step, then each quarter, and the end.
  const spoken = (run, share) => {
    if (!is_going(run)) return `${run.name}: ${STATUS[run.status]}`;
    if (run.status !== 'running') return STATUS[run.status];
    return share < 25
      ? capital(run.step ? 'training' : run.phase || 'starting')
      : `${Math.floor(share / 25) * 25}% trained`;
  };

  const figure = (name, value, { before = '', after = '' } = {}) =>
    make(
      'div',
      {},
      make('dt', { text: name }),
      make(
        'dd',
        {},
        before && make('small', { text: `${before} ` }),
        document.createTextNode(value),
        after && make('small', { text: ` ${after}` }),
      ),
    );
  const in_about = (seconds) =>
    seconds < 1 ? 'almost done' : seconds < 9.95 ? `${Math.round(seconds)} s` : duration(seconds);
  const pace_of = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`);
  const figures = (run) => {
    const going = is_going(run),
      smoothed = curve.loss(),
      loss = smoothed ?? run.loss,
      learning_rate = run.learning_rate ?? curve.learning_rate(),
      pace = seconds_a_step(run),
      total = run.phases.reduce((sum, phase) => sum + phase.seconds, 0);
    const known = (value) => value !== null && value !== undefined;
    // While it goes on every figure has its place from the start, so that none moves when the next is known.
    const worth = (value) => going || known(value);
    const left = run.seconds_left;
    return [
      figure('Step', run.step.toLocaleString(), { after: `of ${run.steps.toLocaleString()}` }),
      going
        ? figure('Time left', known(left) ? in_about(left) : '–', { before: left >= 1 ? 'about' : '' })
        : total > 0 && figure('Time taken', duration(total)),
      worth(pace) && figure('Per step', known(pace) ? pace_of(pace) : '–'),
      worth(loss) && figure(known(smoothed) ? 'Loss, smoothed' : 'Loss', known(loss) ? loss.toFixed(4) : '–'),
      worth(learning_rate) && figure('Learning rate', rate(learning_rate)),
      run.price_per_hour !== null &&
        figure('Spent', cost(run, total - seconds_in(run, 'queued')), { after: `at $${run.price_per_hour}/h` }),
    ].filter(Boolean);
  };

  const phases = (run) => {
    const going = is_going(run),
      spent = new Map(run.phases.map((phase) => [phase.phase, phase.seconds]));
    const now = run.status === 'queued' ? 'queued' : going ? run.phase || 'starting' : '';
    // What goes on just now has been told of up to the last report.
    const untold =
      now === 'queued' ? since(run.queued_at) : run.updated_at ? Math.min(SILENT_S, since(run.updated_at)) : 0;
    if (now) spent.set(now, (spent.get(now) || 0) + untold);
    return ORDER.filter((phase) => now || spent.has(phase)).map((phase) =>
      make(
        'li',
        {
          class: phase === now ? 'now' : spent.has(phase) ? 'past' : 'ahead',
          'aria-current': phase === now ? 'step' : null,
        },
        document.createTextNode(capital(phase)),
        make('b', { text: spent.has(phase) ? duration(spent.get(phase)) : '–' }),
      ),
    );
  };

  return {
    show: (run) => {
      const going = is_going(run),
        share = run.steps ? (100 * run.step) / run.steps : 0,
        said = spoken(run, share);
      $('.chip .dot').className = `dot ${run.status}`;
      $('.chip span').textContent = doing(run);
      if ($('.spoken').textContent !== said) $('.spoken').textContent = said;
      meter.hidden = !going && !run.step;
      meter.classList.toggle('going', going && run.status !== 'queued');
      meter.firstElementChild.style.width = `${share}%`;
      meter.setAttribute('aria-valuemax', run.steps);
      meter.setAttribute('aria-valuenow', run.step);
      $('.figures').replaceChildren(...figures(run));
      $('.phases').replaceChildren(...phases(run));
    },
  };
};
