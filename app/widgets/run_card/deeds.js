// What can be done with a training: stop it, go on with it, start another like it, delete it. `page` gives the run that
// is open, and does what concerns all of the page: {run, prompt_with, clone, close, notice, paint, reread}.
const run_deeds = (card, page) => {
  const { make, button, post, bytes, plural, is_going } = atelier;
  const $ = (selector) => card.querySelector(selector);
  const more = atelier.closing($('.menu'));
  let stopping = false,
    restarting = false,
    shown = '';

  const path = (what) => `/api/runs/${page.run().run_id}/${what}`;
  const ask = async (what, message) => {
    try {
      await post(path(what), message);
      page.reread();
      return true;
    } catch (error) {
      page.notice(error.message);
      return false;
    }
  };
  const wishing = wishes((wish) => ask('ask', { wish }));

  const cancel = async () => {
    const run = page.run(),
      last = run.checkpoints.at(-1);
    const kept = last ? ` The checkpoint at step ${last.step.toLocaleString()} is kept in any case.` : '';
    const text = run.step
      ? `It saves what it has learnt and stops within seconds. You can resume it later, and prompt with what it saved.${kept}`
      : 'It hasn’t learnt anything yet, so nothing is lost.';
    if (!(await atelier.confirm({ title: `Stop “${run.name}”?`, text, yes: 'Stop training', no: 'Keep training' })))
      return;
    stopping = true;
    page.paint();
    if (await ask('cancel')) return;
    stopping = false;
    page.paint();
  };
  const restart = async (what, message) => {
    restarting = true;
    page.paint();
    const goes_on = await ask(what, message);
    restarting = false;
    if (!goes_on) page.paint();
  };
  const remove = async () => {
    const run = page.run(),
      size = run.checkpoints.reduce((sum, each) => sum + each.bytes, 0),
      count = run.checkpoints.length;
    const kept = run.lora ? ' The finished LoRA, its pictures and the dataset stay.' : ' The dataset stays.';
    const checkpoints = count ? `, and ${plural(count, 'checkpoint')} (${bytes(size)})` : '';
    const text = `This deletes its loss curve, samples and log${checkpoints} for good.${kept}`;
    if (!(await atelier.confirm({ title: `Delete “${run.name}”?`, text, yes: 'Delete' }))) return;
    if (await ask('delete')) page.close();
  };
  const clone = () => page.clone(page.run().run_id);

  const actions = (run) => {
    const is_stopping = run.status === 'cancelling' || (stopping && is_going(run)),
      busy = restarting ? 'Starting again…' : is_stopping ? 'Stopping…' : '';
    if (busy) return [make('span', { class: 'button busy', text: busy })];
    if (is_going(run)) return [button('Cancel', cancel)];
    if (run.status === 'done')
      return [
        make('a', { class: 'button', href: run.lora.download, download: '', text: 'Download LoRA' }),
        button('Use in Generate', () => page.prompt_with(run.lora.key), 'primary'),
      ];
    const last = run.checkpoints.at(-1),
      again = last ? `Resume from step ${last.step.toLocaleString()}` : 'Retry',
      go_on = (kind) => button(again, () => restart('retry'), kind);
    if (run.status !== 'failed') return [go_on('primary')];
    // What its settings brought about comes again with them.
    return run.settings_at_fault
      ? [go_on(''), button('Edit and retry…', clone, 'primary')]
      : [button('Edit and retry…', clone), go_on('primary')];
  };
  // What to do about a problem stands beside it. Drawn again, a button would lose the focus; what takes its place gets it.
  const show_actions = (run) => {
    const fresh = actions(run),
      place = $(run.problem && !restarting ? '.problem .remedies' : '.head .actions'),
      key = `${run.run_id} ${fresh.map((each) => each.outerHTML)}`;
    if (key === shown && place.childElementCount) return;
    shown = key;
    const had_focus = Boolean(document.activeElement.closest('.run-card .actions'));
    for (const each of card.querySelectorAll('.actions')) each.replaceChildren();
    place.replaceChildren(...fresh);
    if (had_focus) (place.querySelector('a, button') ?? $('h2')).focus({ preventScroll: true });
  };

  const choices = (run) => {
    const ended = !is_going(run);
    const extend = () => ask_further(run, (steps) => restart('extend', { steps }));
    const made = [
      ...wishing.choices(run),
      ended && run.steps && button('Train for longer…', extend),
      button('New training like this…', clone),
      ended && button('Delete…', remove),
    ].filter(Boolean);
    for (const choice of made) {
      if (!choice.matches('button')) continue;
      choice.className = choice.textContent === 'Delete…' ? 'delete' : '';
      choice.addEventListener('click', () => {
        more.open = false;
      });
    }
    return made;
  };

  return {
    clear: () => {
      stopping = restarting = false;
      wishing.clear();
    },
    show: (run) => {
      if (!is_going(run)) stopping = false;
      show_actions(run);
      if (!more.open) more.querySelector('.choices').replaceChildren(...choices(run));
    },
  };
};
