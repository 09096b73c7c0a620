// The pages of the wall: asked for as the end comes near, and looked at again for what came or went since.
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
    ? 'Try fewer words or filters, or look at everything.'
    : 'Every picture you make is kept here with its prompt, seed and settings.';
  empty.querySelector('button').textContent = filtered ? 'Show all pictures' : 'Make your first picture';
};
const count = async () => {
  const now = round,
    found = await get(`/api/gallery/summary?${question()}`).catch(() => null);
  if (found && now === round) tell('summary', found);
};
const state_of = (page) =>
  page.trouble
    ? `${page.trouble} What you see may be out of date; nothing is lost.`
    : page.whole
      ? ''
      : 'The gallery is being indexed. Pictures appear as they are found.';
const more = async () => {
  if (busy || finished || !seen()) return;
  busy = true;
  const now = round;
  let pause = 0;
  try {
    const page = await get(`/api/gallery?${question({ after })}`);
    if (now !== round) return;
    const first = !after;
    if (first) {
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
    // The first page waits for no long look into storage; what that has found is asked for by itself.
    if (page.whole && first) setTimeout(look, LOOKED_MS);
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
