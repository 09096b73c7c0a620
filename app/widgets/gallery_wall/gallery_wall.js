const { make, get, post, open_tab, find_pictures, parameters, tell, toast } = atelier;
const root = element.querySelector('.gallery-wall'),
  wall = root.querySelector('.tiles'),
  end = root.querySelector('.end');
const notice = root.querySelector('.poll-notice'),
  empty = root.querySelector('.empty-state'),
  fresh_button = root.querySelector('.fresh');
const NEAR = 900,
  LOOK_MS = 10000,
  HEART =
    'M12 20s-7.500-4.600-7.500-10.200A4.300 4.300 0 0 1 12 7.200a4.300 4.300 0 0 1 7.500 2.600C19.500 15.400 12 20 12 20z';
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
  const heart = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  heart.setAttribute('viewBox', '0 0 24 24');
  heart.setAttribute('class', 'heart');
  heart.setAttribute('aria-hidden', 'true');
  const outline = document.createElementNS(heart.namespaceURI, 'path');
  outline.setAttribute('d', HEART);
  heart.append(outline);
  node.append(heart);
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

// ---------------------------------------------------------------- pages

const add = (pictures) => {
  const from = items.length;
  items.push(...pictures);
  ids.push(...pictures.map((each) => each.image_id));
  place(from);
};
const say_empty = () => {
  empty.hidden = items.length > 0 || !finished;
  const filtered = is_filtered();
  empty.querySelector('h2').textContent = filtered ? 'Nothing matches' : 'No pictures yet';
  empty.querySelector('p').textContent = filtered
    ? 'No picture is like that. Try fewer words, or look at all of them.'
    : 'Every picture you make is kept here with its prompt, seed and settings.';
  empty.querySelector('button').textContent = filtered ? 'Show all pictures' : 'Make the first one';
};
const count = async () => {
  const now = round,
    found = await get(`/api/gallery/summary?${question()}`).catch(() => null);
  if (found && now === round) tell('summary', found);
};
const state_of = (page) =>
  page.trouble
    ? `${page.trouble} What is here may be out of date; nothing is lost.`
    : page.whole
      ? ''
      : 'The gallery is being put in order; pictures appear as they are found.';
const more = async () => {
  if (busy || finished || !seen()) return;
  busy = true;
  const now = round;
  let pause = 0;
  try {
    const page = await get(`/api/gallery?${question({ after })}`);
    if (now !== round) return;
    if (!after) {
      items.length = ids.length = 0;
      focused = 0;
      shown.forEach((node) => node.remove());
      shown.clear();
      place();
      count();
    }
    add(page.pictures);
    after = ids.at(-1) || '';
    finished = !page.after && page.whole;
    notice.textContent = state_of(page);
    if (!page.whole && !page.after) pause = 1200;
    say_empty();
    render();
  } catch (error) {
    notice.textContent = error.message;
    pause = 4000;
  } finally {
    if (now === round) busy = false;
  }
  if (pause) setTimeout(more, pause);
  else if (end.getBoundingClientRect().top < innerHeight + 2 * NEAR) more();
};
const start = () => {
  round += 1;
  after = '';
  finished = false;
  busy = false;
  fresh = [];
  fresh_button.hidden = true;
  choose([]);
  window.scrollTo({ top: 0 });
  more();
};

// Pictures made since, and deleted elsewhere: the newest page tells. A wall that is scrolled down stays where it is.
const look = async () => {
  if (busy || !seen() || (!items.length && !finished)) return;
  const now = round,
    page = await get(`/api/gallery?${question()}`).catch(() => null);
  if (!page?.whole || now !== round || busy) return;
  notice.textContent = state_of(page);
  const told = new Map(page.pictures.map((each) => [each.image_id, each])),
    last = page.after || '~';
  forget(ids.filter((id) => id <= last && !told.has(id)));
  let changed = false;
  for (const item of items.slice(0, told.size)) {
    const liked = told.get(item.image_id)?.favourite;
    if (liked !== undefined && liked !== item.favourite) {
      item.favourite = liked;
      changed = true;
    }
  }
  if (changed) render();
  const known = new Set(ids);
  fresh = page.pictures.filter((each) => !known.has(each.image_id) && (finished || each.image_id < ids.at(-1)));
  if (!fresh.length) return;
  count();
  if (scrollY < 240 && !root.contains(document.activeElement)) {
    show_fresh();
    return;
  }
  fresh_button.textContent = `↑ ${fresh.length} new picture${fresh.length === 1 ? '' : 's'}`;
  fresh_button.hidden = false;
};
const show_fresh = () => {
  const known = new Set(ids),
    news = fresh.filter((each) => !known.has(each.image_id));
  items.unshift(...news);
  ids.unshift(...news.map((each) => each.image_id));
  focused += root.contains(document.activeElement) ? news.length : 0;
  fresh = [];
  fresh_button.hidden = true;
  place();
  say_empty();
  render();
};
const forget = (gone) => {
  if (!gone.length) return;
  const doomed = new Set(gone);
  for (let index = ids.length - 1; index >= 0; index -= 1)
    if (doomed.has(ids[index])) {
      ids.splice(index, 1);
      items.splice(index, 1);
    }
  focused = Math.max(0, Math.min(focused, items.length - 1));
  place();
  if (gone.some((id) => selected.delete(id))) tell('selected', [...selected]);
  say_empty();
  render();
  count();
  more();
};

// ---------------------------------------------------------------- what people do

const choose = (chosen) => {
  selected.clear();
  chosen.forEach((id) => selected.add(id));
  tell('selected', [...selected]);
  soon();
};
const toggle = (index, range = false) => {
  const id = ids[index],
    from = range && anchor ? ids.indexOf(anchor) : -1,
    on = !selected.has(id);
  const touched = from < 0 ? [id] : ids.slice(Math.min(from, index), Math.max(from, index) + 1);
  for (const each of touched) on || from >= 0 ? selected.add(each) : selected.delete(each);
  anchor = id;
  choose([...selected]);
};
const go_to = (index) => {
  if (!items[index]) return;
  focused = index;
  const top = wall.getBoundingClientRect().top + items[index].top,
    bottom = top + items[index].height_shown;
  if (top < 90) scrollBy({ top: top - 90 });
  else if (bottom > innerHeight - 90) scrollBy({ top: bottom - innerHeight + 90 });
  render();
  shown.get(ids[index]).firstChild.focus({ preventScroll: true });
};
const index_of = (target) => ids.indexOf(target.closest('.tile')?.dataset.id);
const like = async (image_ids, favourite) => {
  try {
    await post('/api/gallery/favourite', { image_ids, favourite });
    tell('liked', { ids: image_ids, favourite });
  } catch (error) {
    toast(error.message);
  }
};

wall.addEventListener('click', (event) => {
  const index = index_of(event.target);
  if (index < 0) return;
  if (event.target.matches('.pick') || selected.size || event.shiftKey) {
    toggle(index, event.shiftKey);
    return;
  }
  tell('picture', { ids, at: index, near_end: more });
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
    Enter: () => tell('picture', { ids, at: index, near_end: more }),
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
