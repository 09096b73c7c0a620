const { make, poll, get, post, ago, duration, bytes, rate, capital, STATUS, parameters, address } = atelier;
const $ = (selector) => element.querySelector(selector);
const card = $('.run-card'),
  absent = $('.run-card-absent'),
  opening = $('.run-card-opening'),
  more = atelier.closing($('.menu'));
const curve = loss_curve($('.curve')),
  log = log_view($('.log')),
  config = config_view($('.config'));
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
const GOING = ['queued', 'running', 'cancelling'];
const SILENT_S = 90;
let run_id = parameters().get('run') || '',
  run = null,
  version = '',
  stopping = false,
  restarting = false,
  shown_checkpoints = '',
  shown_actions = '';

// ---------------------------------------------------------------- what can be done

const act = (label, work, kind = '') =>
  make('button', { type: 'button', class: `button ${kind}`, text: label, onclick: work });
const prompt_with = (key) =>
  trigger('prompt_lora', { key, base_model: run.base_model_id, trigger_word: run.trigger_word });
const samples = sample_view($('.samples'), prompt_with);
const download = (url, label = 'Download') => make('a', { class: 'button', href: url, download: '', text: label });

const cancel = async () => {
  const last = run.checkpoints.at(-1),
    surely = last ? ` Step ${last.step.toLocaleString()} is kept in any case.` : '';
  const kept = run.step
    ? `It saves what it has learnt, so that it can be resumed and prompted with, and stops within seconds.${surely}`
    : 'It has not learnt anything yet, so nothing is lost.';
  const agreed = await atelier.confirm({ title: `Stop “${run.name}”?`, text: kept, yes: 'Stop training', no: 'Go on' });
  if (!agreed) return;
  stopping = true;
  paint();
  await ask(`/api/runs/${run_id}/cancel`, () => {
    stopping = false;
  });
};
const restart = async (how, message) => {
  restarting = true;
  paint();
  await ask(`/api/runs/${run_id}/${how}`, () => {}, message);
  restarting = false;
  version = '';
  refresh();
};
const extend = () =>
  ask_further(run, {
    pace: run.seconds_per_step ?? seconds_in('training') / run.step,
    cost,
    go: (steps) => restart('extend', { steps }),
  });
const remove = async () => {
  const size = run.checkpoints.reduce((sum, each) => sum + each.bytes, 0),
    count = run.checkpoints.length;
  const kept = run.lora ? ' The finished LoRA, its pictures and the dataset stay.' : ' The dataset stays.';
  const text = `This removes its curve, its samples, its log and ${count === 1 ? '1 checkpoint' : `${count} checkpoints`} (${bytes(size)}) for good.${kept}`;
  if (!(await atelier.confirm({ title: `Delete “${run.name}”?`, text, yes: 'Delete it' }))) return;
  await ask(`/api/runs/${run_id}/delete`, () => {});
  address({ run: '' });
  window.dispatchEvent(new CustomEvent('atelier:run', { detail: '' }));
};
const choices = () => {
  const ended = !GOING.includes(run.status);
  return [
    ...wishing.choices(run),
    ended && run.steps && act('Train on…', extend),
    act('New training like this…', () => trigger('clone', { run_id })),
    ended && act('Delete…', remove, 'delete'),
  ]
    .filter(Boolean)
    .map((choice) => {
      choice.className = choice.className.includes('delete') ? 'delete' : '';
      if (choice.matches('button'))
        choice.addEventListener('click', () => {
          more.open = false;
        });
      return choice;
    });
};
const ask = async (path, failed, message) => {
  try {
    await post(path, message);
    refresh();
    return true;
  } catch (error) {
    failed();
    notice(error.message);
    paint();
    return false;
  }
};
const wishing = wishes((wish) => ask(`/api/runs/${run_id}/ask`, () => {}, { wish }));

const actions = () => {
  if (restarting) return [make('span', { class: 'button busy', text: 'Starting again…' })];
  if (run.status === 'cancelling' || (stopping && GOING.includes(run.status)))
    return [make('span', { class: 'button busy', text: 'Stopping…' })];
  if (GOING.includes(run.status)) return [act('Cancel', cancel)];
  if (run.status === 'done')
    return [
      download(run.lora.download, 'Download LoRA'),
      act('Use in Generate', () => prompt_with(run.lora.key), 'primary'),
    ];
  const last = run.checkpoints.at(-1);
  // What failed may need another setting, not another try.
  return [
    run.status === 'failed' && act('Change settings…', () => trigger('clone', { run_id })),
    act(last ? `Resume from step ${last.step.toLocaleString()}` : 'Retry', () => restart('retry'), 'primary'),
  ].filter(Boolean);
};

// ---------------------------------------------------------------- painting

const notice = (sentence) => {
  $('.poll-notice').textContent = sentence;
};
const since = (at) => Math.max(0, Date.now() / 1000 - at);

const figure = (name, value, small = '') =>
  make(
    'div',
    {},
    make('dt', { text: name }),
    make('dd', { text: value }, small ? make('small', { text: ` ${small}` }) : null),
  );
const seconds_in = (name) => run.phases.find((phase) => phase.phase === name)?.seconds || 0;
// Waiting for a GPU costs nothing; on one's own computer nothing does.
const cost = (seconds, before = '') =>
  run.price_per_hour === null ? '' : `${before}$${((seconds / 3600) * run.price_per_hour).toFixed(2)}`;
const figures = () => {
  const smoothed = curve.loss(),
    loss = smoothed ?? run.loss,
    learning_rate = run.learning_rate ?? curve.learning_rate(),
    trained = seconds_in('training');
  const pace = run.seconds_per_step ?? (run.step && trained ? trained / run.step : null);
  const total = run.phases.reduce((sum, phase) => sum + phase.seconds, 0);
  return [
    figure('Step', run.step.toLocaleString(), `of ${run.steps.toLocaleString()}`),
    GOING.includes(run.status)
      ? figure('Time left', run.seconds_left === null ? '–' : `about ${duration(run.seconds_left)}`)
      : figure('Time taken', duration(total)),
    pace === null ? null : figure('Per step', pace < 1 ? `${Math.round(pace * 1000)} ms` : `${pace.toFixed(2)} s`),
    loss === null || loss === undefined
      ? null
      : figure('Loss', loss.toFixed(4), smoothed === undefined ? '' : 'smoothed'),
    learning_rate === undefined ? null : figure('Learning rate', rate(learning_rate)),
    run.price_per_hour === null
      ? null
      : figure('Spent', cost(total - seconds_in('queued')), `at $${run.price_per_hour}/h`),
  ].filter(Boolean);
};

const phases = () => {
  const spent = new Map(run.phases.map((phase) => [phase.phase, phase.seconds]));
  const now = run.status === 'queued' ? 'queued' : GOING.includes(run.status) ? run.phase || 'starting' : '';
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

const problem = () => {
  const box = $('.problem'),
    cancelled = run.status === 'cancelled';
  box.hidden = !run.problem;
  if (!run.problem) return;
  const said = `${run.problem.message} ${run.problem.hint}`,
    last = run.checkpoints.at(-1);
  const kept = last && !said.includes('kept') ? ` The checkpoint of step ${last.step.toLocaleString()} is kept.` : '';
  box.classList.toggle('calm', cancelled);
  box.querySelector('b').textContent = run.problem.message;
  box.querySelector('p').textContent = `${run.problem.hint}${kept}`.trim();
};

// What to do about a problem stands beside it. Drawn again, a button would lose the focus.
const show_actions = () => {
  const fresh = actions(),
    place = $(run.problem && !restarting ? '.problem .remedies' : '.head .actions'),
    key = `${run_id} ${fresh.map((each) => each.outerHTML)}`;
  if (key === shown_actions && place.childElementCount) return;
  shown_actions = key;
  for (const each of card.querySelectorAll('.actions')) each.replaceChildren();
  place.replaceChildren(...fresh);
};

const checkpoints = () => {
  const key = `${run_id} ${run.checkpoints.map((each) => each.step)}`;
  $('.checkpoints .nothing').hidden = run.checkpoints.length > 0;
  $('.checkpoints .nothing').textContent =
    run.saves_every && GOING.includes(run.status)
      ? `The first is saved at step ${Math.min(run.saves_every, run.steps).toLocaleString()}; it can be prompted with at once.`
      : 'None was saved.';
  $('.checkpoints .compare').hidden = run.checkpoints.length < 2;
  if (key === shown_checkpoints) return;
  shown_checkpoints = key;
  $('.checkpoints ul').replaceChildren(
    ...[...run.checkpoints].reverse().map((each) =>
      make(
        'li',
        {},
        make('b', { text: `Step ${each.step.toLocaleString()}` }),
        make('small', { text: bytes(each.bytes) }),
        act('Prompt this checkpoint', () => prompt_with(each.key), 'small'),
        make('a', { class: 'button small', href: each.download, download: '', text: 'Download' }),
      ),
    ),
  );
};

const paint = () => {
  card.hidden = !run;
  absent.hidden = true;
  opening.hidden = !run_id || Boolean(run);
  if (!run) return;
  const going = GOING.includes(run.status),
    share = run.steps ? (100 * run.step) / run.steps : 0;
  $('h2').textContent = run.name;
  $('.chip .dot').className = `dot ${run.status}`;
  $('.chip span').textContent = STATUS[run.status];
  $('.when').textContent = [
    run.base_model,
    run.trigger_word && `trigger “${run.trigger_word}”`,
    ago(run.submitted_at),
    run.attempt > 1 && `attempt ${run.attempt}`,
  ]
    .filter(Boolean)
    .join(' · ');
  const silent = run.status === 'running' && run.updated_at && since(run.updated_at) > SILENT_S;
  if (silent)
    notice(
      `The worker has said nothing for ${duration(since(run.updated_at))}. It may be busy; a dead one is noticed and its work resumed.`,
    );
  show_actions();
  if (!more.open) more.querySelector('.choices').replaceChildren(...choices());
  $('.run-card > .meter').classList.toggle('going', going && run.status !== 'queued');
  $('.run-card > .meter i').style.width = `${share}%`;
  $('.run-card > .meter').setAttribute('aria-valuemax', run.steps);
  $('.run-card > .meter').setAttribute('aria-valuenow', run.step);
  $('.figures').replaceChildren(...figures());
  $('.phases').replaceChildren(...phases());
  $('.settings dl').replaceChildren(
    ...run.settings.map(([name, value]) => make('div', {}, make('dt', { text: name }), make('dd', { text: value }))),
  );
  // A run that ended before its first step has nothing there.
  $('.halves').hidden = !going && !run.step && !run.samples.length && !run.checkpoints.length;
  problem();
  samples.show(run);
  checkpoints();
};

// ---------------------------------------------------------------- keeping up

const open = (id) => {
  if (id === run_id && run) {
    refresh();
    return;
  }
  run_id = id;
  run = null;
  version = '';
  stopping = restarting = false;
  curve.clear();
  log.clear();
  config.clear();
  wishing.clear();
  samples.clear();
  shown_checkpoints = '';
  opening.querySelector('p').textContent = '';
  paint();
  refresh();
};

const lost = (sentence, error) => {
  // An answer that came after all may itself be unsure of something.
  notice(sentence || run?.unsure || '');
  if (!run) opening.querySelector('p').textContent = sentence;
  if (error?.status !== 404) return;
  run = null;
  card.hidden = opening.hidden = true;
  absent.hidden = false;
  absent.querySelector('p').textContent = sentence;
};
const refresh = poll({
  element: element,
  failed: lost,
  read: async () => {
    if (!run_id) return 4000;
    const id = run_id,
      news = await get(`/api/runs/${id}?since=${encodeURIComponent(version)}`);
    if (id !== run_id) return 0;
    if (news) {
      if (!GOING.includes(news.status)) stopping = false;
      notice(news.unsure);
      run = news;
      version = news.version;
      await curve.read(run, () => id === run_id);
    }
    if (run) paint();
    if (run) config.follow(run);
    if (run) await log.follow(run);
    // One that has ended may be gone on with from another device.
    return !run || GOING.includes(run.status) ? 2000 : 8000;
  },
});

// The grid of the Generate tab opens with what the address says.
$('.compare').addEventListener('click', () => {
  address({ tab: 'generate', run: '', grid: 'new', checkpoints: run_id });
  atelier.open_tab('generate');
});
$('.back').addEventListener('click', () => {
  address({ run: '' });
  window.dispatchEvent(new CustomEvent('atelier:run', { detail: '' }));
});
window.addEventListener('atelier:run', (event) => open(event.detail));
paint(); // a page that was opened with a run in its address waits for it
