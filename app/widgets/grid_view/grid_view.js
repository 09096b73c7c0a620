const { make, poll, get, post, ago, confirm, toast, tell, parameters, capital, STATUS } = atelier;
const $ = selector => element.querySelector(selector);
const root = $('.grid-view'), one = $('.one'), all = $('.all'), empty = $('.empty-state');
const GOING = ['queued', 'running', 'cancelling'];
const SIDES = { few: 220, some: 170, many: 128 }; // pixels
let grid_id = '', grid = null, version = '', sheet = 0, tiles = [], painted = '';

// ---------------------------------------------------------------- what can be done

const attempt = async (work, said = '') => {
  try { await work(); if (said) toast(said); } catch (error) { toast(error.message); }
  version = '';
  refresh();
};
const button = (label, work, kind = '') => make('button', { type: 'button', class: `button small ${kind}`, text: label, onclick: work });
const act = (action, message) => attempt(() => post(`/api/grids/${grid_id}/${action}`, message));
const remove = async () => {
  const going = grid.cells.some(cell => GOING.includes(cell.status));
  const text = `Its finished pictures stay in the gallery.${going ? ' What is still being drawn is stopped.' : ''}`;
  if (!await confirm({ title: 'Delete this grid?', text, yes: 'Delete it' })) return;
  try { await post(`/api/grids/${grid_id}/delete`); } catch (error) { toast(error.message); return; }
  toast('Grid deleted');
  tell('open-grid', 'new');
};
const copy_link = async () => {
  try { await navigator.clipboard.writeText(location.href); toast('Link copied'); } catch { toast('The browser did not allow copying.'); }
};

// ---------------------------------------------------------------- cells

const shape = () => `aspect-ratio:${grid.width}/${grid.height}`;
const open_picture = cell => {
  const drawn = grid.cells.filter(each => each.picture);
  tell('picture', { ids: drawn.map(each => each.picture.image_id), at: drawn.indexOf(cell) });
};
const kind_of = cell => cell.picture ? cell.picture.image_id : GOING.includes(cell.status) ? `${cell.status} ${cell.step}` : `${cell.status} ${cell.problem?.message}`;
const why = cell => cell.problem ? `${cell.problem.message} ${cell.problem.hint}`.trim() : 'It was never asked for, or its run has been deleted.';
const cell_tile = cell => {
  if (cell.picture) {
    const image = make('img', { src: cell.picture.thumb, alt: cell.words, loading: 'lazy', decoding: 'async' });
    const tile = make('button', { type: 'button', class: 'cell', style: shape(), 'aria-label': `Open: ${cell.words}`, onclick: () => open_picture(cell) }, image);
    image.addEventListener('error', () => tile.replaceWith(make('div', { class: 'cell ended', style: shape(), text: 'Deleted' })));
    return tile;
  }
  if (GOING.includes(cell.status)) {
    const words = cell.status === 'running' && cell.steps ? `${cell.step} of ${cell.steps}` : cell.status === 'running' ? 'Starting' : STATUS[cell.status];
    return make('div', { class: 'cell going', style: shape() }, make('small', { text: words }));
  }
  return make('div', { class: `cell ended ${cell.status === 'cancelled' ? '' : 'failed'}`, style: shape(), title: why(cell) },
    make('small', { text: STATUS[cell.status] }), button('Retry', () => act('retry', { run_id: cell.run_id })));
};

// ---------------------------------------------------------------- one grid

const heading = (scope, text) => make('th', { scope, title: text }, make('span', { text }));
const side = () => SIDES[grid.columns.length <= 3 ? 'few' : grid.columns.length <= 5 ? 'some' : 'many'];
const lay_out = () => {
  const rows_named = grid.axes.length > 1;
  $('caption').textContent = `${grid.title}: ${grid.axes.join(' by ')}`;
  $('table').style.setProperty('--side', innerWidth < 700 ? '128px' : `${side()}px`);
  $('thead').replaceChildren(make('tr', {}, rows_named ? make('td') : null, ...grid.columns.map(text => heading('col', text))));
  tiles = [];
  $('tbody').replaceChildren(...grid.rows.map(text => make('tr', {}, rows_named ? heading('row', text) : null, ...grid.columns.map(() => {
    const box = make('td');
    tiles.push({ box, kind: '' });
    return box;
  }))));
  $('.sheets').hidden = grid.sheets.length < 2;
  $('.sheets').replaceChildren(...grid.sheets.map((text, index) => make('button', { type: 'button', class: 'button small', 'aria-pressed': String(index === sheet), title: text, text, onclick: () => {
    sheet = index;
    painted = '';
    paint();
    $('.sheets').children[index].focus();
  } })));
};
const doings = counts => [
  counts.going ? button('Cancel', () => act('cancel')) : null,
  counts.ended ? button(counts.ended === 1 ? 'Retry 1 cell' : `Retry ${counts.ended} cells`, () => act('retry', {})) : null,
  make('a', { class: 'button small', href: `/api/grids/${grid_id}/sheet?number=${sheet}`, download: '', text: 'Download sheet' }),
  button('Copy link', copy_link), button('All grids', () => tell('open-grid', 'new')), button('Delete', remove, 'danger-quiet')].filter(Boolean);
const paint = () => {
  if (painted !== `${grid.grid_id} ${sheet}`) { painted = `${grid.grid_id} ${sheet}`; lay_out(); }
  const done = grid.cells.filter(cell => cell.picture).length, going = grid.cells.filter(cell => GOING.includes(cell.status)).length;
  const counts = { done, going, ended: grid.cells.length - done - going };
  $('.one h2').textContent = grid.title;
  $('.facts').textContent = `${done} of ${grid.cells.length} drawn · ${grid.base_model} · ${grid.width} × ${grid.height} · ${ago(grid.created_at)}`;
  const failed = grid.cells.find(cell => cell.status === 'failed' && cell.problem);
  $('.problem').hidden = !failed;
  $('.problem').textContent = failed ? why(failed) : '';
  const focused = $('.doings').contains(document.activeElement) ? document.activeElement.textContent : '';
  $('.doings').replaceChildren(...doings(counts));
  if (focused) [...$('.doings').children].find(each => each.textContent === focused)?.focus({ preventScroll: true });
  const first = sheet * tiles.length;
  tiles.forEach((tile, index) => {
    const cell = grid.cells[grid.places[first + index]], kind = kind_of(cell);
    if (tile.kind === kind) return;
    tile.box.replaceChildren(cell_tile(cell));
    tile.kind = kind;
  });
};

// ---------------------------------------------------------------- all of them, and keeping up

const row = each => make('li', {}, make('button', { type: 'button', onclick: () => tell('open-grid', each.grid_id) },
  make('b', { text: each.title }), make('small', { text: ago(each.created_at) }), make('small', { text: `${each.axes.map(capital).join(' × ')} · ${each.cells} ${each.cells === 1 ? 'picture' : 'pictures'}` })));
const show = part => { for (const each of [one, all, empty]) each.hidden = each !== part; };
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
  return grid.cells.some(cell => GOING.includes(cell.status)) ? 1200 : 10000;
};
const refresh = poll({
  element: root,
  read,
  failed: (sentence, error) => {
    $('.poll-notice').textContent = sentence;
    if (error?.status === 404) show(null);
  },
});
const open = asked => {
  grid_id = asked && asked !== 'new' ? asked : '';
  [grid, version, sheet, painted] = [null, '', 0, ''];
  $('.poll-notice').textContent = '';
  show(null);
  refresh();
};
window.addEventListener('atelier:grid', event => open(event.detail));
window.addEventListener('atelier:deleted', () => { version = ''; painted = ''; });
open(parameters().get('grid'));
