// The wall: only what is near the screen is on the page.
const { make, heart, get, post, open_tab, find_pictures, parameters, tell, toast } = atelier;
const root = element.querySelector('.gallery-wall'),
  wall = root.querySelector('.tiles'),
  end = root.querySelector('.end');
const notice = root.querySelector('.poll-notice'),
  empty = root.querySelector('.empty-state'),
  fresh_button = root.querySelector('.fresh');
const NEAR = 900,
  LOOK_MS = 10000,
  LOOKED_MS = 1200;
// `ids` follows `items` in place: the picture view turns through it. `shown` are the tiles that are on the page.
const items = [],
  ids = [],
  shown = new Map(),
  selected = new Set();
const places = new_places();
let after = '',
  finished = false,
  busy = false,
  round = 0,
  fresh = [],
  focused = 0,
  anchor = null;
const seen = () => root.offsetParent !== null && !document.hidden;
const place = (from = 0) => {
  wall.style.height = `${places.put(items, from, wall.clientWidth)}px`;
};

// ---------------------------------------------------------------- tiles

const words = (item) => item.prompt || 'a picture';
const tile = (item) => {
  const open = make(
    'button',
    { type: 'button', class: 'open', 'aria-label': `Open: ${words(item)}` },
    make('img', { src: item.thumb, alt: '', loading: 'lazy', decoding: 'async', draggable: 'false' }),
  );
  const pick = make('input', { type: 'checkbox', class: 'pick', 'aria-label': `Select: ${words(item)}`, tabindex: -1 });
  const node = make('div', { class: 'tile', role: 'listitem' }, open, pick);
  node.dataset.id = item.image_id;
  return node;
};
const dress = (node, item, index) => {
  const style = places.style(item);
  if (node.getAttribute('style') !== style) node.setAttribute('style', style);
  node.setAttribute('aria-posinset', index + 1);
  node.setAttribute('aria-setsize', finished ? items.length : -1);
  node.firstChild.tabIndex = index === focused ? 0 : -1;
  node.classList.toggle('selected', selected.has(item.image_id));
  node.children[1].checked = selected.has(item.image_id);
  if (Boolean(node.querySelector('.heart')) === item.favourite) return;
  if (!item.favourite) {
    node.querySelector('.heart').remove();
    return;
  }
  node.append(heart());
};
const render = () => {
  const above = -wall.getBoundingClientRect().top,
    from = above - NEAR,
    to = above + innerHeight + NEAR;
  const near = [];
  for (
    let index = places.first_below(items, from - 2 * places.side());
    index < items.length && items[index].top < to;
    index += 1
  ) {
    if (items[index].top + items[index].height_shown > from) near.push(index);
  }
  // What has the keyboard stays, wherever the page is scrolled to.
  if (items[focused] && !near.includes(focused)) focused < near[0] ? near.unshift(focused) : near.push(focused);
  const wanted = new Set(near.map((index) => ids[index]));
  for (const [id, node] of shown) {
    if (wanted.has(id)) continue;
    // Without its address it no longer holds up those that are wanted now.
    node.querySelector('img').removeAttribute('src');
    node.remove();
    shown.delete(id);
  }
  let cursor = wall.firstChild;
  for (const index of near) {
    const item = items[index],
      node = shown.get(item.image_id) || tile(item);
    shown.set(item.image_id, node);
    dress(node, item, index);
    if (node === cursor) cursor = cursor.nextSibling;
    else wall.insertBefore(node, cursor);
  }
  root.classList.toggle('selecting', selected.size > 0);
};
let asked_frame = 0;
const soon = () => {
  asked_frame ||= requestAnimationFrame(() => {
    asked_frame = 0;
    if (root.offsetParent) render();
  });
};

// ---------------------------------------------------------------- what people do

wall.addEventListener('click', (event) => {
  const index = index_of(event.target);
  if (index < 0) return;
  if (event.target.matches('.pick') || selected.size || event.shiftKey) {
    toggle(index, event.shiftKey);
    return;
  }
  open_picture(index);
});
wall.addEventListener('focusin', (event) => {
  const index = index_of(event.target);
  if (index >= 0 && index !== focused) {
    focused = index;
    soon();
  }
});
wall.addEventListener('keydown', (event) => {
  const index = index_of(event.target);
  if (index >= 0 && (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'a') {
    event.preventDefault();
    choose(ids);
  }
  if (index < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
  const doings = {
    ArrowLeft: () => go_to(index - 1),
    ArrowRight: () => go_to(index + 1),
    ArrowUp: () => go_to(places.in_column(items, index, -1)),
    ArrowDown: () => go_to(places.in_column(items, index, 1)),
    Home: () => go_to(0),
    End: () => go_to(items.length - 1),
    x: () => toggle(index, event.shiftKey),
    X: () => toggle(index, true),
    ' ': () => toggle(index, event.shiftKey),
    f: () => like([ids[index]], !items[index].favourite),
    Escape: () => choose([]),
    Delete: () => {
      if (!selected.size) choose([ids[index]]);
      tell('delete-selected');
    },
    Enter: () => open_picture(index),
  };
  if (!doings[event.key]) return;
  event.preventDefault();
  doings[event.key]();
});
// A button is pressed as the space bar comes up again.
wall.addEventListener('keyup', (event) => {
  if (event.key === ' ') event.preventDefault();
});
fresh_button.addEventListener('click', () => {
  scrollTo({ top: 0 });
  show_fresh();
});
empty
  .querySelector('button')
  .addEventListener('click', () => (is_filtered() ? find_pictures({}) : open_tab('generate')));

// ---------------------------------------------------------------- what others say

const listen = (name, work) => window.addEventListener(`atelier:${name}`, (event) => work(event.detail));
listen('wanted', start);
listen('lay', (chosen) => {
  places.choose(chosen);
  place();
  render();
});
listen('unselect', () => choose([]));
listen('select-shown', () => choose(ids));
listen('deleted', forget);
listen('liked', ({ ids: changed, favourite }) => {
  for (const item of items) if (changed.includes(item.image_id)) item.favourite = favourite;
  if (!favourite && parameters().get('liked') === '1') forget(changed);
  else render();
});
listen('closed', (id) => {
  if (seen() && ids.includes(id)) go_to(ids.indexOf(id));
});
listen('tab', (tab) => {
  if (tab === 'gallery')
    setTimeout(() => {
      place();
      render();
      more();
      look();
    }, 40);
});
window.addEventListener(
  'scroll',
  () => {
    soon();
    if (end.getBoundingClientRect().top < innerHeight + 2 * NEAR) more();
  },
  { passive: true },
);
new ResizeObserver(() => {
  if (root.offsetParent && items.length) {
    place();
    soon();
  }
}).observe(root);
setInterval(look, LOOK_MS);
more();
