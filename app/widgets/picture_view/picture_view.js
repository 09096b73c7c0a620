const {
  make,
  get,
  post,
  toast,
  ago,
  confirm,
  tell,
  open_tab,
  open_run,
  open_lora,
  find_pictures,
  compare_checkpoints,
} = atelier;
const view = element.querySelector('.picture-view');
const HEART =
  'M12 20s-7.500-4.600-7.500-10.200A4.300 4.300 0 0 1 12 7.200a4.300 4.300 0 0 1 7.500 2.600C19.500 15.400 12 20 12 20z';
const KEYS = [
  ['← →', 'turn'],
  ['F', 'favourite'],
  ['R', 'reuse'],
  ['V', 'variations'],
  ['C', 'copy'],
  ['D', 'download'],
  ['Z', 'larger'],
  ['Del', 'delete'],
];
const SMALL = 512,
  SWIPE = 45; // pixels
// The pictures to turn through, named by whoever opened the view, who may add more as the end comes near.
let list = [],
  at = 0,
  near_end = null,
  picture = null,
  captions = [],
  places = [],
  across = 0;

// ---------------------------------------------------------------- which picture

const open = (detail) => {
  [list, at, near_end] = [detail.ids, detail.at, detail.near_end];
  [captions, places, across] = [detail.captions || [], detail.places || [], detail.across || 0];
  if (!view.open) view.showModal();
  show();
};
const show = async () => {
  const image_id = list[at];
  if (at > list.length - 8) near_end?.();
  let found;
  try {
    found = await get(`/api/gallery/${image_id}`);
  } catch (error) {
    toast(error.message);
    view.close();
    return;
  }
  if (list[at] !== image_id) return;
  picture = found;
  paint();
  for (const near of [list[at + 1], list[at - 1]])
    if (near)
      get(`/api/gallery/${near}`)
        .then((next) => {
          new Image().src = next.url;
        })
        .catch(() => {});
};
const turn = (by) => {
  if (at + by < 0 || at + by >= list.length) return;
  at += by;
  show();
};
// In a grid the keys go up and down, too, past cells that aren't drawn.
const turn_row = (by) => {
  for (let place = places[at] + by * across; place >= 0 && place <= places.at(-1); place += by * across) {
    const index = places.indexOf(place);
    if (index >= 0) {
      turn(index - at);
      return;
    }
  }
};
const zoom = () => view.classList.toggle('zoomed');

// ---------------------------------------------------------------- what can be done with it

const attempt = async (work) => {
  try {
    await work();
  } catch (error) {
    toast(error.message);
  }
};
const copy = async () => {
  try {
    await navigator.clipboard.writeText(picture.prompt);
    toast('Prompt copied');
  } catch {
    toast('The browser did not allow copying.');
  }
};
const like = () =>
  attempt(async () => {
    const liked = picture,
      favourite = !liked.favourite;
    await post('/api/gallery/favourite', { image_ids: [liked.image_id], favourite });
    liked.favourite = favourite;
    tell('liked', { ids: [liked.image_id], favourite });
    if (picture === liked) view.querySelector('.like').setAttribute('aria-pressed', String(favourite));
  });
const remove = async () => {
  const doomed = picture.image_id;
  if (
    !(await confirm({
      title: 'Delete this picture?',
      text: 'It is deleted for good, with its settings.',
      yes: 'Delete',
    }))
  )
    return;
  try {
    await post('/api/gallery/delete', { image_ids: [doomed] });
  } catch (error) {
    toast(error.message);
    return;
  }
  tell('deleted', [doomed]);
  // The list is its owner's, who may have taken the picture out by now.
  const index = list.indexOf(doomed);
  if (index >= 0) for (const each of [list, captions, places]) each.splice(index, 1);
  toast('Picture deleted');
  if (!list.length) {
    view.close();
    return;
  }
  at = Math.min(at, list.length - 1);
  show();
};
const workflow = () =>
  attempt(async () => {
    const reply = await fetch(`/api/gallery/${picture.image_id}/workflow`, {
      signal: AbortSignal.timeout(60000),
    }).catch(() => {
      throw new Error('The studio does not answer.');
    });
    if (!reply.ok) throw new Error((await reply.json()).error);
    const address = URL.createObjectURL(await reply.blob());
    make('a', { href: address, download: `${picture.image_id}-workflow.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  });
const kind = () => ({ png: 'PNG', jpg: 'JPEG', webp: 'WebP' })[picture.key.split('.').at(-1)] || 'file';
const reuse = (part) => () => {
  const { image_id } = picture;
  view.close();
  trigger('reuse', { image_id, part });
};
const leave = (work) => () => {
  view.close();
  work();
};

// ---------------------------------------------------------------- what is known of it

const fact = (name, value) =>
  value === '' || value === null ? [] : [make('dt', { text: name }), make('dd', { text: value })];
const button = (label, work, kind = '') =>
  make('button', { type: 'button', class: `button ${kind}`, text: label, onclick: work });
const step = (kind, name, detail, work) =>
  make(
    'li',
    { class: work ? null : 'gone' },
    make('small', { text: kind }),
    work ? make('button', { type: 'button', text: name, onclick: leave(work) }) : make('span', { text: name }),
    make('em', { text: detail }),
  );
const opened = (from) =>
  from.key.startsWith('runs/') ? () => compare_checkpoints(from.run_id) : () => open_lora(from.key.split('/')[2]);
// One LoRA and where it came from: each a click away, and what is gone is said.
const origin = (from) =>
  make(
    'ol',
    { class: 'origin' },
    step(
      from.key.startsWith('runs/') ? 'Checkpoint' : 'LoRA',
      from.name,
      `× ${from.strength}${from.there ? '' : ' · deleted'}`,
      from.there && opened(from),
    ),
    step('Pictures', 'All made with it', '', () => find_pictures({ with: from.key })),
    !from.run_id
      ? step('Training', 'Imported', 'no training here')
      : from.run_there
        ? step('Training', 'Open the run', from.step === null ? '' : `step ${from.step.toLocaleString()}`, () =>
            open_run(from.run_id),
          )
        : step('Training', 'Deleted', ''),
    !from.dataset_id
      ? ''
      : from.dataset_there
        ? step('Dataset', from.dataset_name, `${from.pictures.toLocaleString()} pictures`, () => {
            open_tab('train');
            tell('dataset-made', from.dataset_id);
          })
        : step('Dataset', from.dataset_name, 'deleted'),
  );
const start = () =>
  make(
    'ol',
    { class: 'origin' },
    make(
      'li',
      {},
      make('small', { text: 'Start' }),
      picture.start_id
        ? make('button', {
            type: 'button',
            text: 'Another picture',
            onclick: () => open({ ids: [picture.start_id], at: 0 }),
          })
        : make('span', { text: 'A file' }),
      make('em', { text: `${picture.denoise} redrawn` }),
    ),
  );
const heart = () => {
  const pressed = make('button', {
    type: 'button',
    class: 'like',
    'aria-label': 'Favourite',
    'aria-pressed': String(picture.favourite),
    title: 'Favourite (F)',
    onclick: like,
  });
  const drawing = document.createElementNS('http://www.w3.org/2000/svg', 'svg'),
    path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  drawing.setAttribute('viewBox', '0 0 24 24');
  drawing.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', HEART);
  drawing.append(path);
  pressed.append(drawing);
  return pressed;
};
const paint = () => {
  const focus = view.contains(document.activeElement) ? document.activeElement.className : '';
  view.replaceChildren(
    make(
      'div',
      { class: 'stage' },
      make('img', {
        src: picture.url,
        alt: picture.prompt,
        class: Math.max(picture.width, picture.height) < SMALL ? 'small' : null,
        onclick: zoom,
        title: 'Larger (Z)',
      }),
      captions[at] ? make('p', { class: 'caption', text: captions[at] }) : null,
      make('button', {
        type: 'button',
        class: 'turn before',
        'aria-label': 'Newer picture',
        disabled: at === 0,
        text: '‹',
        onclick: () => turn(-1),
      }),
      make('button', {
        type: 'button',
        class: 'turn after',
        'aria-label': 'Older picture',
        disabled: at === list.length - 1,
        text: '›',
        onclick: () => turn(1),
      }),
    ),
    make(
      'aside',
      {},
      make(
        'div',
        { class: 'bar' },
        make('small', { text: ago(picture.created_at) }),
        make(
          'span',
          {},
          heart(),
          make('button', {
            type: 'button',
            class: 'close',
            'aria-label': 'Close',
            text: '×',
            onclick: () => view.close(),
          }),
        ),
      ),
      make(
        'div',
        {},
        make(
          'div',
          { class: 'prompt-head' },
          make('h2', { text: 'Prompt' }),
          button('Copy prompt', copy, 'small quiet'),
        ),
        make('p', { class: 'prompt', text: picture.prompt }),
      ),
      make(
        'dl',
        {},
        ...fact('Seed', picture.seed),
        ...fact('Size', `${picture.width} × ${picture.height}`),
        ...fact('Steps', picture.steps),
        ...fact('Guidance', picture.guidance),
        ...fact(
          'Base model',
          picture.base_model_there ? picture.base_model : `${picture.base_model} (not here any more)`,
        ),
        ...fact('Without', picture.negative_prompt),
        ...fact('Written as', picture.prompt_template),
      ),
      picture.origins.length || picture.denoise !== null
        ? make(
            'div',
            { class: 'origins' },
            make('h2', { text: 'Where it comes from' }),
            picture.denoise === null ? '' : start(),
            ...picture.origins.map(origin),
          )
        : '',
      make(
        'div',
        { class: 'doings' },
        button('Reuse everything', reuse('all'), 'primary'),
        button('Prompt only', reuse('prompt')),
        button('Seed only', reuse('seed')),
        button('Variations', reuse('variations')),
        button('Use as start', reuse('img2img')),
        make('a', { class: 'button download', href: picture.download, download: '', text: `Download ${kind()}` }),
        kind() === 'PNG' ? button('Workflow', workflow) : '',
        button('Delete', remove, 'danger-quiet wide'),
      ),
      make(
        'p',
        { class: 'keys' },
        ...KEYS.map(([key, does]) => make('span', {}, make('kbd', { text: key }), document.createTextNode(does))),
      ),
    ),
  );
  (
    (focus && view.querySelector(`.${focus.trim().split(/\s+/).join('.')}:not(:disabled)`)) ||
    view.querySelector('.close')
  ).focus();
};
view.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !picture) return;
  const doings = {
    ArrowLeft: () => turn(-1),
    ArrowRight: () => turn(1),
    Home: () => turn(-at),
    End: () => turn(list.length - 1 - at),
    ...(across ? { ArrowUp: () => turn_row(-1), ArrowDown: () => turn_row(1) } : {}),
    f: like,
    c: copy,
    z: zoom,
    r: reuse('all'),
    v: reuse('variations'),
    d: () => view.querySelector('.download').click(),
    Delete: remove,
  };
  const work = doings[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!work) return;
  event.preventDefault();
  work();
});
// A finger turns the page.
let touched = null;
view.addEventListener(
  'touchstart',
  (event) => {
    touched = event.touches.length === 1 && event.target.closest('.stage') ? event.touches[0] : null;
  },
  { passive: true },
);
view.addEventListener('touchend', (event) => {
  if (!touched) return;
  const [{ clientX, clientY }] = event.changedTouches,
    x = clientX - touched.clientX,
    y = clientY - touched.clientY;
  if (Math.abs(x) > SWIPE && Math.abs(x) > 2 * Math.abs(y)) turn(x > 0 ? -1 : 1);
});
view.addEventListener('click', (event) => {
  if (event.target === view) view.close();
});
view.addEventListener('close', () => {
  view.replaceChildren();
  view.classList.remove('zoomed');
  picture = null;
  tell('closed', list[at]);
});
window.addEventListener('atelier:picture', (event) => open(event.detail));
