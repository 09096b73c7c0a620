const { poll, get, ago, duration, parameters, address, make, is_going } = atelier;
const $ = (selector) => element.querySelector(selector);
const card = $('.run-card'),
  absent = $('.run-card-absent'),
  opening = $('.run-card-opening');
let run_id = parameters().get('run') || '',
  run = null,
  version = '',
  is_new = false;

const notice = (sentence) => {
  $('.poll-notice').textContent = sentence;
};
const prompt_with = (key) =>
  trigger('prompt_lora', { key, base_model: run.base_model_id, trigger_word: run.trigger_word });
const close = () => {
  address({ run: '' });
  window.dispatchEvent(new CustomEvent('atelier:run', { detail: '' }));
};
const deeds = run_deeds(card, {
  run: () => run,
  prompt_with,
  clone: (id) => trigger('clone', { run_id: id }),
  notice,
  close,
  paint: () => paint(),
  reread: () => {
    version = '';
    refresh();
  },
});
const curve = loss_curve($('.curve')),
  progress = progress_view(element, curve),
  samples = sample_view($('.samples'), prompt_with),
  checkpoints = checkpoint_list($('.checkpoints'), prompt_with),
  log = log_view($('.log')),
  config = config_view($('.config'));

// ---------------------------------------------------------------- painting

const problem = () => {
  const box = $('.problem');
  box.hidden = !run.problem;
  if (!run.problem) return;
  const { message, hint } = run.problem,
    last = run.checkpoints.at(-1);
  const kept =
    last && !`${message} ${hint}`.includes('kept')
      ? ` The checkpoint at step ${last.step.toLocaleString()} is kept.`
      : '';
  box.classList.toggle('calm', run.status === 'cancelled');
  box.querySelector('b').textContent = message;
  box.querySelector('p').textContent = `${hint}${kept}`.trim();
};

const paint = () => {
  card.hidden = !run;
  absent.hidden = true;
  opening.hidden = !run_id || Boolean(run);
  if (!run) return;
  $('h2').textContent = run.name;
  $('.when').textContent = [
    run.base_model,
    run.trigger_word && `trigger “${run.trigger_word}”`,
    ago(run.submitted_at),
    run.attempt > 1 && `attempt ${run.attempt}`,
  ]
    .filter(Boolean)
    .join(' · ');
  if (run.status === 'running' && run.updated_at && since(run.updated_at) > SILENT_S)
    notice(
      `No word from the worker for ${duration(since(run.updated_at))}. It may just be busy; if it has died, that is noticed and the training picked up again.`,
    );
  deeds.show(run);
  progress.show(run);
  $('.settings dl').replaceChildren(
    ...run.settings.map(([name, value]) => make('div', {}, make('dt', { text: name }), make('dd', { text: value }))),
  );
  // A run that ended before its first step has nothing there.
  $('.halves').hidden = !is_going(run) && !run.step && !run.samples.length && !run.checkpoints.length;
  problem();
  samples.show(run);
  checkpoints.show(run);
  // On a phone it takes the place of the list, and of what had the focus there.
  if (is_new && document.activeElement === document.body && !document.querySelector('.run-list')?.offsetParent)
    $('h2').focus({ preventScroll: true });
  is_new = false;
};

// ---------------------------------------------------------------- keeping up

const open = (id) => {
  if (id === run_id && run) {
    refresh();
    return;
  }
  run_id = id;
  is_new = true;
  run = null;
  version = '';
  for (const part of [curve, log, config, deeds, samples, checkpoints]) part.clear();
  opening.querySelector('p').textContent = '';
  paint();
  refresh();
};

const lost = (sentence, error) => {
  // An answer that came after all may itself be unsure of something.
  notice(sentence || run?.unsure || '');
  if (!run) opening.querySelector('p').textContent = sentence;
  if (error?.status !== 404 || !run_id) return; // one that was deleted here is not missed
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
      notice(news.unsure);
      run = news;
      version = news.version;
      await curve.read(run, () => id === run_id);
    }
    if (run) paint();
    if (run) config.follow(run);
    if (run) await log.follow(run);
    // One that has ended may be gone on with from another device.
    return !run || is_going(run) ? 2000 : 8000;
  },
});

$('.back').addEventListener('click', close);
window.addEventListener('atelier:run', (event) => open(event.detail));
paint(); // a page that was opened with a run in its address waits for it
