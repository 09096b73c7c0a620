const { make, poll, get, post, call, tell, ago, capital, duration, say, toast, STATUS } = atelier;
const root = element.querySelector('.image-feed'),
  blocks = root.querySelector('.blocks'),
  empty = root.querySelector('.empty-state');
const going_bar = root.querySelector('.going'),
  cancel_all = going_bar.querySelector('button');
const GOING = ['sending', 'queued', 'running', 'cancelling'];
const TILE = { 1: 360, 2: 290, 3: 230 }; // pixels: the fewer, the larger
const shown = new Map(); // run id, or the number of a press until its run is known → { node, run, tiles }
let version = '',
  presses = 0,
  known = false;

// ---------------------------------------------------------------- a press in words

const is_going = (run) => GOING.includes(run.status);
const share = (run) => (run.steps ? Math.min(100, (100 * run.step) / run.steps) : 0);
const PHASES = {
  queued: 'Starting',
  starting: 'A worker is starting',
  'fetching data': 'Fetching model and LoRAs',
  'loading model': 'Loading the model',
};
const in_line = (ahead) =>
  ahead === 0
    ? 'Next in line, waiting for a worker'
    : ahead === 1
      ? 'Queued, 1 before it'
      : `Queued, ${ahead} before it`;
// A cold start takes its time: the seconds say that it is not stuck.
const waited = (run) => {
  const seconds = Date.now() / 1000 - run.phase_since;
  return run.phase_since && seconds >= 3 ? ` · ${duration(Math.floor(seconds))}` : '';
};
const state_words = (run) => {
  if (run.status === 'sending') return 'Sending…';
  if (run.status === 'queued') return in_line(run.ahead);
  if (run.status !== 'running') return STATUS[run.status];
  if (run.phase === 'generating' && run.steps) return `Step ${run.step} of ${run.steps}`;
  return `${PHASES[run.phase] || capital(run.phase)}${waited(run)}`;
};

// ---------------------------------------------------------------- tiles

const shape = (run) => `aspect-ratio:${run.width}/${run.height}`;
const open_picture = (run, index) =>
  window.dispatchEvent(
    new CustomEvent('atelier:picture', { detail: { ids: run.pictures.map((each) => each.image_id), at: index } }),
  );
const picture_tile = (run, picture, index) => {
  const image = make('img', {
    src: picture.thumb,
    alt: picture.prompt,
    title: picture.prompt === run.prompt ? null : picture.prompt,
    loading: 'lazy',
    decoding: 'async',
  });
  const tile = make(
    'button',
    {
      type: 'button',
      class: 'tile',
      style: shape(picture),
      'aria-label': `Open picture ${index + 1}: ${picture.prompt}`,
      onclick: () => open_picture(tile.run || run, index),
    },
    image,
  );
  // While its run goes on, the next look finds what is still on its way to storage.
  image.addEventListener('error', () => {
    const entry = shown.get(key_of(run)),
      going = entry && is_going(entry.run);
    if (going) entry.tiles[index] = '';
    if (going && tile.preview) return;
    (tile.preview || tile).replaceWith(
      going ? making_tile(run, '') : make('div', { class: 'tile gone', style: shape(picture), text: 'Deleted' }),
    );
  });
  return tile;
};
const making_tile = (run, preview) =>
  make(
    'div',
    { class: 'tile making', style: shape(run) },
    preview ? make('img', { class: 'preview', src: preview, alt: `So far: ${run.prompt}` }) : null,
  );
// The preview in the tile is exchanged once the next one has been loaded, so that it does not flicker.
const show_preview = (tile, preview) => {
  const image = tile.querySelector('img');
  const next = new Image();
  next.onload = () => {
    image.src = preview;
  };
  next.src = preview;
};
// What a picture looked like so far stays until it is there itself: it may still be on its way to storage.
const wait_behind = (preview, tile) => {
  const image = tile.querySelector('img');
  tile.preview = preview;
  image.loading = 'eager';
  image.addEventListener(
    'load',
    () => {
      preview.replaceWith(tile);
      tile.preview = null;
    },
    { once: true },
  );
};
// What each tile shows, as a word that changes when the tile has to.
const tile_kind = (run, index) => {
  if (run.pictures[index]) return `picture ${run.pictures[index].image_id}`;
  return run.preview && index === run.preview_index ? 'preview' : 'waiting';
};
const put_tiles = (entry, run) => {
  const box = entry.node.querySelector('.tiles');
  if (!box) return;
  for (let index = 0; index < run.count; index += 1) {
    const kind = tile_kind(run, index),
      tile = box.children[index];
    if (tile && entry.tiles[index] === kind) {
      if (kind === 'preview') show_preview(tile, run.preview);
      tile.run = run;
      continue;
    }
    const is_picture = kind.startsWith('picture');
    const fresh = is_picture
      ? picture_tile(run, run.pictures[index], index)
      : making_tile(run, kind === 'preview' ? run.preview : '');
    if (is_picture && tile?.querySelector('.preview')) wait_behind(tile, fresh);
    else tile ? tile.replaceWith(fresh) : box.append(fresh);
    entry.tiles[index] = kind;
  }
  while (box.children.length > run.count) box.lastElementChild.remove();
};

// ---------------------------------------------------------------- one press of Generate

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
const about = (run) => {
  const facts = [
    run.base_model,
    `${run.width} × ${run.height}`,
    run.seed && `seed ${run.seed}`,
    ...run.loras,
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
        run.problem ? problem(run) : make('div', { class: 'tiles', style: `--tile:${TILE[run.count] || 190}px` }),
        ...notes(run),
      );

const key_of = (run) => run.run_id || run.press;
// Moves the bar there is, so that it glides, and leaves alone what has not changed.
const move_on = (entry, run) => {
  const head = entry.node.querySelector('.about'),
    focused = head.contains(document.activeElement);
  head.replaceWith(about(run));
  if (focused) entry.node.querySelector('.about button')?.focus({ preventScroll: true });
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
  const going = [...shown.values()].filter(({ run }) => is_going(run)).length;
  going_bar.hidden = going < 2;
  going_bar.querySelector('p').textContent = `${going} at work or waiting`;
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
