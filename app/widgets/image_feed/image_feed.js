const { make, poll, get, post, call, ago, capital, say, STATUS } = atelier;
const root = element.querySelector('.image-feed'), blocks = root.querySelector('.blocks'), empty = root.querySelector('.empty-state');
const GOING = ['sending', 'queued', 'running', 'cancelling'];
const TILE = { 1: 360, 2: 290, 3: 230 }; // pixels: the fewer, the larger
const shown = new Map(); // run id, or the number of a press until its run is known → { node, run }
let version = '', presses = 0, known = false;

// ---------------------------------------------------------------- one press of Generate

const step_share = run => run.steps ? Math.min(100, 100 * run.step / run.steps) : 0;
const state_words = run => {
  if (run.status === 'sending') return 'Sending…';
  if (run.status === 'running') return run.phase === 'generating' && run.steps ? `Step ${run.step} of ${run.steps}` : `${capital(run.phase === 'queued' ? 'starting' : run.phase)}…`;
  return STATUS[run.status];
};
const act = (run, label, path) => make('button', { type: 'button', class: 'button small', text: label, onclick: async event => {
  event.target.disabled = true;
  event.target.textContent = path === 'cancel' ? 'Stopping…' : 'Starting…';
  try { await post(`/api/runs/${run.run_id}/${path}`); version = ''; } catch (error) { atelier.toast(error.message); event.target.disabled = false; event.target.textContent = label; }
  refresh();
} });
const picture_tile = (run, picture, index) => {
  const image = make('img', { src: picture.thumb, alt: run.prompt, loading: 'lazy', decoding: 'async' });
  const tile = make('button', { type: 'button', class: 'tile', style: `aspect-ratio:${picture.width}/${picture.height}`, 'aria-label': `Open picture ${index + 1}: ${run.prompt}`,
    onclick: () => window.dispatchEvent(new CustomEvent('atelier:picture', { detail: { ids: run.pictures.map(each => each.image_id), at: index } })) }, image);
  image.addEventListener('error', () => tile.replaceWith(make('div', { class: 'tile gone', style: `aspect-ratio:${picture.width}/${picture.height}`, text: 'Deleted' })));
  return tile;
};
const making_tile = run => make('div', { class: 'tile making', style: `aspect-ratio:${run.width}/${run.height}` });
const problem = run => make('div', { class: `problem ${run.status === 'cancelled' ? 'calm' : ''}` },
  make('p', { text: `${run.problem?.message || ''} ${run.problem?.hint || ''}`.trim() }), act(run, run.status === 'cancelled' ? 'Start again' : 'Retry', 'retry'));

const block = run => {
  const going = GOING.includes(run.status), done = run.status === 'done';
  const facts = [run.base_model, `${run.width} × ${run.height}`, run.seed && `seed ${run.seed}`, ...run.loras, run.submitted_at && ago(run.submitted_at)].filter(Boolean);
  const node = make('article', { 'aria-busy': going ? 'true' : null },
    make('div', { class: 'about' }, make('h3', { text: run.prompt }),
      going && run.status !== 'sending' && run.status !== 'cancelling' ? act(run, 'Cancel', 'cancel') : make('span'),
      make('p', {}, done ? null : make('span', { class: 'state' }, make('i', { class: `dot ${run.status}` }), document.createTextNode(state_words(run))),
        ...facts.map(fact => make('span', { text: fact })))),
    going ? make('div', { class: 'meter', role: 'progressbar', 'aria-label': 'Progress', 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': Math.round(step_share(run)) }, make('i', { style: `width:${step_share(run)}%` })) : null,
    run.problem ? problem(run) : make('div', { class: 'tiles', style: `--tile:${TILE[run.count] || 190}px` },
      ...(done ? run.pictures.map((picture, index) => picture_tile(run, picture, index)) : Array.from({ length: run.count }, () => making_tile(run)))),
    ...run.notes.map(note => make('p', { class: 'note', text: note })));
  return node;
};
const key_of = run => run.run_id || run.press;
const put = run => {
  const key = key_of(run), before = shown.get(key);
  if (before && before.run.version === run.version && before.run.status === run.status) return;
  const node = block(run);
  if (before) {
    const focused = before.node.contains(document.activeElement);
    // A step forward moves the bar there is, so that it glides and the tiles don't flicker.
    if (before.run.status === 'running' && run.status === 'running') {
      before.node.querySelector('.about').replaceWith(node.querySelector('.about'));
      before.node.querySelector('.meter i').style.width = `${step_share(run)}%`;
      shown.set(key, { node: before.node, run });
      return;
    }
    before.node.replaceWith(node);
    if (focused) node.querySelector('button')?.focus({ preventScroll: true });
  }
  shown.set(key, { node, run });
};
const arrange = runs => {
  const pressed = [...shown.values()].filter(({ run }) => !runs.some(each => each.run_id === run.run_id) && (run.status === 'sending' || run.fresh)).map(({ run }) => run).reverse();
  const order = [...pressed, ...runs].map(run => shown.get(key_of(run)).node);
  order.forEach((node, index) => { if (blocks.children[index] !== node) blocks.insertBefore(node, blocks.children[index] || null); });
  while (blocks.children.length > order.length) blocks.lastElementChild.remove();
  const kept = new Set(order);
  for (const [key, { node }] of shown) if (!kept.has(node)) shown.delete(key);
  empty.hidden = !known || order.length > 0;
};

// ---------------------------------------------------------------- pressing Generate

let last_runs = [];
atelier.generate = async wishes => {
  say('generate', '');
  if (!wishes.prompt.trim()) {
    say('generate', 'Write what you want to see first.');
    document.querySelector('#prompt textarea')?.focus();
    return;
  }
  // Shown at once, before the server has heard of it.
  const press = `press-${presses += 1}`;
  const run = { press, run_id: '', version: '', status: 'sending', prompt: wishes.prompt, base_model: '', loras: [], submitted_at: 0, phase: '', step: 0, steps: 0,
    seed: wishes.seed, width: wishes.width, height: wishes.height, count: wishes.count, pictures: [], notes: [], problem: null };
  put(run);
  arrange(last_runs);
  const answer = await call(server.start(wishes));
  const { node } = shown.get(press);
  shown.delete(press);
  if (answer.error) {
    say('generate', answer.error);
  } else if (!shown.has(answer.run_id)) {
    // Until the list has it, the same block stands for it.
    shown.set(answer.run_id, { node, run: { ...run, press: '', run_id: answer.run_id, status: 'queued', fresh: true } });
  }
  arrange(last_runs);
  refresh();
};

// ---------------------------------------------------------------- keeping up

const refresh = poll({
  element: root,
  failed: sentence => { root.querySelector('.poll-notice').textContent = sentence; },
  read: async () => {
    const news = await get(`/api/runs?kind=image&since=${version}`);
    if (news) {
      version = news.version;
      known = true;
      last_runs = news.runs;
      news.runs.forEach(put);
      arrange(news.runs);
    }
    return [...shown.values()].some(({ run }) => GOING.includes(run.status)) ? 1000 : 6000;
  },
});
empty.querySelector('button').addEventListener('click', () => document.querySelector('#prompt textarea').focus());
