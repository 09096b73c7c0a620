// The feed: a block for each press of Generate, newest first, shown at once and kept up to date.
const { make, poll, get, post, call, tell, ago, capital, duration, say, toast, STATUS } = atelier;
const root = element.querySelector('.image-feed'),
  blocks = root.querySelector('.blocks'),
  empty = root.querySelector('.empty-state');
const going_bar = root.querySelector('.going'),
  cancel_all = going_bar.querySelector('button');
const GOING = ['sending', 'queued', 'running', 'cancelling'];
const COLUMNS = { 1: 2, 2: 2, 3: 3, 5: 3, 6: 3 }; // at most: the fewer, the larger, and rows that are full
const shown = new Map(); // run id, or the number of a press until its run is known → { node, run, tiles }
const below = below_button(root);
let version = '',
  presses = 0,
  known = false;

const key_of = (run) => run.run_id || run.press;
const put_about = (node, run) => {
  const head = node.querySelector('.about'),
    focused = head.contains(document.activeElement);
  head.replaceWith(about(run));
  if (focused) node.querySelector('.about button')?.focus({ preventScroll: true });
};
// Moves the bar there is, so that it glides, and leaves alone what has not changed.
const move_on = (entry, run) => {
  put_about(entry.node, run);
  for (const note of entry.node.querySelectorAll(':scope > .note')) note.remove();
  entry.node.append(...notes(run));
  const bar = entry.node.querySelector('.meter');
  entry.node.classList.toggle('waiting', waits(run));
  bar.setAttribute('aria-valuenow', Math.round(share(run)));
  bar.firstElementChild.style.width = `${share(run)}%`;
};
const put = (run) => {
  const key = key_of(run),
    entry = shown.get(key) || { node: null, run: null, tiles: [] };
  if (entry.run && entry.run.version === run.version && entry.run.status === run.status) return;
  if (entry.node && run.grid_id) {
    // Its line stays as it is.
  } else if (entry.node && is_going(entry.run) && is_going(run) && entry.run.count === run.count) {
    move_on(entry, run);
  } else {
    const node = block(run),
      before = entry.node,
      focused = before?.contains(document.activeElement);
    // What is drawn already stays where it is while the rest of the block is made anew.
    const tiles = before?.querySelector('.tiles'),
      place = node.querySelector('.tiles');
    if (tiles && place) place.replaceWith(tiles);
    else entry.tiles = [];
    before?.replaceWith(node);
    if (focused) node.querySelector('button')?.focus({ preventScroll: true });
    entry.node = node;
  }
  put_tiles(entry, run);
  if (entry.run && is_going(entry.run) && run.status === 'done') below.drawn(run.pictures.length);
  entry.run = run;
  shown.set(key, entry);
};
const arrange = (runs) => {
  const pressed = [...shown.values()]
    .filter(({ run }) => !runs.some((each) => each.run_id === run.run_id) && (run.status === 'sending' || run.fresh))
    .map(({ run }) => run)
    .reverse();
  const order = [...pressed, ...runs].map((run) => shown.get(key_of(run)).node);
  order.forEach((node, index) => {
    if (blocks.children[index] !== node) blocks.insertBefore(node, blocks.children[index] || null);
  });
  while (blocks.children.length > order.length) blocks.lastElementChild.remove();
  const kept = new Set(order);
  for (const [key, { node }] of shown) if (!kept.has(node)) shown.delete(key);
  empty.hidden = !known || order.length > 0;
  const going = [...shown.values()].filter(({ run }) => is_going(run)),
    drawing = going.filter(({ run }) => run.status === 'running').length;
  below.at_work(going.length);
  going_bar.hidden = going.length < 2;
  going_bar.querySelector('p').textContent = [
    drawing ? `${drawing} drawing` : '',
    going.length > drawing ? `${going.length - drawing} queued` : '',
  ]
    .filter(Boolean)
    .join(', ');
};

// ---------------------------------------------------------------- pressing Generate

let last_runs = [];
atelier.recent_runs = () => last_runs;
atelier.generate = async (wishes) => {
  say('generate', '');
  if (!wishes.prompt.trim()) {
    say('generate', 'Write what you want to see first.');
    document.querySelector('#prompt textarea')?.focus();
    return;
  }
  // Shown at once, before the server has heard of it.
  const press = `press-${(presses += 1)}`;
  const run = {
    press,
    run_id: '',
    version: '',
    status: 'sending',
    ahead: 0,
    prompt: wishes.prompt,
    base_model: '',
    loras: [],
    submitted_at: 0,
    phase: '',
    phase_since: 0,
    step: 0,
    steps: 0,
    grid_id: '',
    seed: wishes.seed,
    width: wishes.width,
    height: wishes.height,
    count: wishes.count,
    pictures: [],
    preview: '',
    notes: [],
    problem: null,
  };
  put(run);
  arrange(last_runs);
  const answer = await call(server.start(wishes));
  const entry = shown.get(press);
  shown.delete(press);
  if (answer.error) {
    say('generate', answer.error);
  } else if (!shown.has(answer.run_id)) {
    // Until the list has it, the same block stands for it.
    const going = [...shown.values()].filter(({ run: each }) => is_going(each)).length;
    const queued = { ...run, press: '', run_id: answer.run_id, status: 'queued', ahead: going, fresh: true };
    shown.set(answer.run_id, { ...entry, run: queued });
    move_on(entry, queued);
  }
  arrange(last_runs);
  refresh();
};
window.addEventListener('atelier:loras-named', () => {
  for (const { node, run } of shown.values()) if (run.loras.length && !run.grid_id) put_about(node, run);
});
atelier.early_presses.splice(0).forEach((wishes) => atelier.generate(wishes));
cancel_all.addEventListener('click', async () => {
  cancel_all.disabled = true;
  cancel_all.textContent = 'Stopping…';
  try {
    await post('/api/generations/cancel');
    version = '';
  } catch (error) {
    toast(error.message);
  }
  cancel_all.disabled = false;
  cancel_all.textContent = 'Cancel all';
  refresh();
});

// ---------------------------------------------------------------- keeping up

const refresh = poll({
  element: root,
  failed: (sentence) => {
    root.querySelector('.poll-notice').textContent = sentence;
  },
  read: async () => {
    const news = await get(`/api/generations?since=${version}`);
    if (news) {
      version = news.version;
      known = true;
      last_runs = news.runs;
      news.runs.forEach(put);
      arrange(news.runs);
    } else {
      // Nothing new from a worker that is still starting: its seconds go on.
      for (const { node, run } of shown.values())
        if (run.status === 'running' && !run.grid_id) node.querySelector('.state span').textContent = state_words(run);
    }
    return [...shown.values()].some(({ run }) => is_going(run)) ? 1000 : 6000;
  },
});
empty.querySelector('button').addEventListener('click', () => document.querySelector('#prompt textarea').focus());
