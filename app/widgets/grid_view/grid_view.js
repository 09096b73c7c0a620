// One grid with its cells as they fill, or all of them.
const { make, poll, get, post, ago, confirm, copy, toast, tell, parameters, capital, open_lora, STATUS, is_going } =
  atelier;
const $ = (selector) => element.querySelector(selector);
const root = $('.grid-view'),
  one = $('.one'),
  all = $('.all'),
  empty = $('.empty-state');
const SIDES = { fit: 0, small: 96, medium: 170, large: 300 }; // pixels
let grid_id = '',
  grid = null,
  version = '',
  sheet = 0,
  tiles = [],
  painted = '',
  size = 'fit';

// ---------------------------------------------------------------- what can be done

const attempt = async (work, said = '') => {
  try {
    await work();
    if (said) toast(said);
  } catch (error) {
    toast(error.message);
  }
  version = '';
  refresh();
};
const button = (label, work, kind = '') => atelier.button(label, work, `small ${kind}`.trim());
// Says at once that it was pressed: the cells tell of it only when they have been looked at again.
const act = (label, pressed, action, message) =>
  button(label, async ({ target }) => {
    target.disabled = true;
    target.textContent = pressed;
    await attempt(() => post(`/api/grids/${grid_id}/${action}`, message));
    target.disabled = false;
    target.textContent = label;
  });
const remove = async () => {
  const going = grid.cells.some(is_going);
  const text = `Its finished pictures stay in the gallery.${going ? ' The rest will be stopped.' : ''}`;
  if (!(await confirm({ title: 'Delete this grid?', text, yes: 'Delete it' }))) return;
  try {
    await post(`/api/grids/${grid_id}/delete`);
  } catch (error) {
    toast(error.message);
    return;
  }
  toast('Grid deleted');
  tell('open-grid', 'new');
};
const copy_link = () => copy(location.href, 'Link copied');

// ---------------------------------------------------------------- one grid

// A checkpoint that draws best is made a LoRA where it is seen.
const promote = async (step, pressed) => {
  pressed.disabled = true;
  try {
    const item = await (await post('/api/loras/promote', { run_id: grid.checkpoints.run_id, step })).json();
    tell('loras-changed');
    toast(`${item.name} is now a LoRA of its own`);
  } catch (error) {
    toast(error.message);
    pressed.disabled = false;
  }
  version = '';
  refresh();
};
const promotion = (axis, index) => {
  const { at, steps, loras } = grid.checkpoints || {};
  if (at !== axis || !steps[index]) return null;
  const step = steps[index].toLocaleString(),
    kept = loras[index];
  return make('button', {
    type: 'button',
    class: 'button small',
    text: kept ? 'Open LoRA' : 'Promote',
    'aria-label': kept ? `Open the LoRA of step ${step}` : `Promote step ${step}`,
    title: kept ? 'This checkpoint is a LoRA' : 'Make this checkpoint a LoRA of its own',
    onclick: (event) => (kept ? open_lora(kept) : promote(steps[index], event.target)),
  });
};
const heading = (scope, text, index) =>
  make('th', { scope, title: text }, make('span', { text }), promotion(scope === 'col' ? 0 : 1, index));
// By itself a grid is as wide as its place, within what can be made out.
const side = () => {
  if (SIDES[size]) return SIDES[size];
  const names = grid.axes.length > 1 ? (innerWidth < 700 ? 90 : 126) : 0;
  return Math.max(96, Math.min(300, Math.floor(($('.frame').clientWidth - names) / grid.columns.length) - 7));
};
const resize = () => {
  if (grid) $('table').style.setProperty('--side', `${side()}px`);
};
const lay_out = () => {
  const rows_named = grid.axes.length > 1;
  $('caption').textContent = `${grid.title}: ${grid.axes.join(' by ')}`;
  $('thead').replaceChildren(
    make('tr', {}, rows_named ? make('td') : null, ...grid.columns.map((text, index) => heading('col', text, index))),
  );
  tiles = [];
  $('tbody').replaceChildren(
    ...grid.rows.map((text, row) =>
      make(
        'tr',
        {},
        rows_named ? heading('row', text, row) : null,
        ...grid.columns.map(() => {
          const box = make('td');
          tiles.push({ box, kind: '' });
          return box;
        }),
      ),
    ),
  );
  $('.sheets').hidden = grid.sheets.length < 2;
  $('.sheets').replaceChildren(
    ...grid.sheets.map((text, index) =>
      make('button', {
        type: 'button',
        class: 'button small',
        'aria-pressed': String(index === sheet),
        title: text,
        text,
        onclick: () => {
          sheet = index;
          painted = '';
          paint();
          $('.sheets').children[index].focus();
        },
      }),
    ),
  );
};
const doings = (counts) =>
  [
    counts.going ? act('Cancel', 'Stopping…', 'cancel') : null,
    promotion(2, sheet),
    counts.ended
      ? act(counts.ended === 1 ? 'Retry 1 cell' : `Retry ${counts.ended} cells`, 'Starting…', 'retry', {})
      : null,
    grid.wish
      ? button('Reuse settings', () => {
          tell('grid-wish', grid.wish);
          toast('Settings copied to the form');
        })
      : null,
    make('a', {
      class: 'button small',
      href: `/api/grids/${grid_id}/sheet?number=${sheet}`,
      download: '',
      text: 'Download sheet',
    }),
    button('Copy link', copy_link),
    button('All grids', () => tell('open-grid', 'new')),
    button('Delete', remove, 'danger-quiet'),
  ].filter(Boolean);
const paint = () => {
  const laid = `${grid.grid_id} ${sheet} ${grid.checkpoints?.loras}`;
  if (painted !== laid) {
    painted = laid;
    lay_out();
  }
  const done = grid.cells.filter((cell) => cell.picture).length,
    going = grid.cells.filter(is_going).length;
  const counts = { done, going, ended: grid.cells.length - done - going };
  $('.one h2').textContent = grid.title;
  $('.facts').textContent =
    `${done} of ${grid.cells.length} drawn · ${grid.base_model} · ${grid.width} × ${grid.height} · ${ago(grid.created_at)}`;
  const failed = grid.cells.find((cell) => cell.status === 'failed' && cell.problem);
  $('.problem').hidden = !failed;
  $('.problem').textContent = failed ? why(failed) : '';
  const focused = $('.doings').contains(document.activeElement) ? document.activeElement.textContent : '';
  $('.doings').replaceChildren(...doings(counts));
  if (focused) [...$('.doings').children].find((each) => each.textContent === focused)?.focus({ preventScroll: true });
  const first = sheet * tiles.length;
  tiles.forEach((tile, index) => {
    const cell = grid.cells[grid.places[first + index]],
      kind = kind_of(cell);
    if (tile.kind === kind) return;
    tile.box.replaceChildren(cell_tile(cell, index));
    tile.kind = kind;
  });
};

// ---------------------------------------------------------------- keeping up

const show = (part) => {
  for (const each of [one, all, empty]) each.hidden = each !== part;
};
const read = async () => {
  const asked = grid_id;
  if (!asked) {
    const { grids } = await get('/api/grids');
    if (asked !== grid_id) return 0;
    all.querySelector('ul').replaceChildren(...grids.map(row));
    show(grids.length ? all : empty);
    return 15000;
  }
  const news = await get(`/api/grids/${asked}?since=${version}`);
  if (asked !== grid_id) return 0;
  if (news) {
    grid = news;
    version = news.version;
    paint();
  }
  show(one);
  resize();
  return grid.cells.some(is_going) ? 1200 : 10000;
};
const refresh = poll({
  element: root,
  read,
  failed: (sentence, error) => {
    $('.poll-notice').textContent = sentence;
    if (error?.status === 404) show(null);
  },
});
const open = (asked) => {
  grid_id = asked && asked !== 'new' ? asked : '';
  [grid, version, sheet, painted] = [null, '', 0, ''];
  $('.poll-notice').textContent = '';
  show(null);
  refresh();
};
for (const radio of root.querySelectorAll('.sizes input'))
  radio.addEventListener('change', () => {
    size = radio.value;
    resize();
  });
new ResizeObserver(resize).observe($('.frame'));
window.addEventListener('atelier:grid', (event) => open(event.detail));
window.addEventListener('atelier:deleted', () => {
  version = '';
  painted = '';
});
open(parameters().get('grid'));
