// One picture, large: which one, what is known of it, and the keys.
const {
  make,
  button,
  heart,
  copy,
  closes_beside,
  ask,
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
const KEYS = [
  ['← →', 'browse'],
  ['F', 'favourite'],
  ['R', 'reuse'],
  ['V', 'variations'],
  ['B', 'compare'],
  ['C', 'copy'],
  ['D', 'download'],
  ['Z', 'zoom'],
  ['Del', 'delete'],
];
const SMALL = 512,
  SWIPE = 45; // pixels
// The pictures to turn through, named by whoever opened the view, who may add more as the end comes near.
let list = [],
  at = 0,
  near_end = null,
  thumb_of = null,
  held = '', // the class of what had the keyboard
  picture = null,
  captions = [],
  places = [],
  across = 0;

// ---------------------------------------------------------------- which picture

const open = (detail) => {
  [list, at, near_end, thumb_of] = [detail.ids, detail.at, detail.near_end, detail.thumb_of];
  [captions, places, across] = [detail.captions || [], detail.places || [], detail.across || 0];
  if (!view.open) view.showModal();
  show();
};
// What is known of each picture, asked for once while the view is open, its neighbours before they are turned to.
const known = new Map();
const read = (image_id) => {
  if (!known.has(image_id)) {
    const asked = get(`/api/gallery/${image_id}`).then((found) => {
      new Image().src = found.url;
      known.set(image_id, found);
      return found;
    });
    known.set(image_id, asked);
    asked.catch(() => known.delete(image_id));
  }
  return known.get(image_id);
};
const show = async () => {
  const image_id = list[at];
  if (at > list.length - 8) near_end?.();
  let found = read(image_id);
  if (found instanceof Promise) {
    // Until more is known of it, it is seen small.
    paint_thumb(thumb_of?.(image_id));
    try {
      found = await found;
    } catch (error) {
      if (list[at] !== image_id || !view.open) return;
      toast(error.message);
      view.close();
      return;
    }
    if (list[at] !== image_id || !view.open) return;
  }
  picture = found;
  paint();
  for (const near of [list[at + 1], list[at - 1]]) if (near) read(near);
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
// Against the next in the list; the last one, against the one before it.
const compare = () => {
  const first = Math.min(at, list.length - 2);
  if (first >= 0) tell('compare-pictures', [list[first], list[first + 1]]);
};
const zoom = () => view.classList.toggle('zoomed');

const fact = (name, value) =>
  value === '' || value === null ? [] : [make('dt', { text: name }), make('dd', { text: value })];
// Nothing can be done with it yet, and the keyboard stays where it was.
const paint_thumb = (thumb) => {
  picture = null;
  held = focused() || held;
  view.replaceChildren(
    make('div', { class: 'stage' }, thumb ? make('img', { src: thumb, alt: '' }) : null),
    make('aside'),
  );
  view.focus();
};
const like_button = () =>
  make(
    'button',
    {
      type: 'button',
      class: 'like',
      'aria-label': 'Favourite',
      'aria-pressed': String(picture.favourite),
      title: 'Favourite (F)',
      onclick: like,
    },
    heart(),
  );
const focused = () =>
  view !== document.activeElement && view.contains(document.activeElement) ? document.activeElement.className : '';
const paint = () => {
  const focus = focused() || held;
  held = '';
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
          button('Delete', remove, 'small danger-quiet'),
          like_button(),
          make('button', {
            type: 'button',
            class: 'close-button',
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
          button('Copy prompt', copy_prompt, 'small quiet'),
        ),
        make('p', { class: 'prompt', text: picture.prompt }),
      ),
      make(
        'dl',
        { class: 'facts-list' },
        ...fact('Seed', picture.seed),
        ...fact('Size', `${picture.width} × ${picture.height}`),
        ...fact('Steps', picture.steps),
        ...fact('Guidance', picture.guidance),
        ...fact('Base model', picture.base_model_there ? picture.base_model : `${picture.base_model} (no longer here)`),
        ...fact('Negative prompt', picture.negative_prompt),
        ...fact('Template', picture.prompt_template),
      ),
      picture.origins.length || picture.denoise !== null
        ? make(
            'div',
            { class: 'origins' },
            make('h2', { text: 'Where it came from' }),
            picture.denoise === null ? '' : start(),
            ...picture.origins.map(origin),
          )
        : '',
      make(
        'p',
        { class: 'keys' },
        ...KEYS.map(([key, does]) => make('span', {}, make('kbd', { text: key }), document.createTextNode(does))),
      ),
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
      ),
    ),
  );
  (
    (focus && view.querySelector(`.${focus.trim().split(/\s+/).join('.')}:not(:disabled)`)) ||
    view.querySelector('.close-button')
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
    c: copy_prompt,
    z: zoom,
    b: compare,
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
closes_beside(view);
view.addEventListener('close', () => {
  view.replaceChildren();
  view.classList.remove('zoomed');
  picture = null;
  known.clear();
  tell('closed', list[at]);
});
window.addEventListener('atelier:picture', (event) => open(event.detail));
