// What is selected on the wall, where the keyboard is, and what is liked.
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
const open_picture = (at) =>
  tell('picture', { ids, at, near_end: more, thumb_of: (id) => items[ids.indexOf(id)]?.thumb });
const index_of = (target) => ids.indexOf(target.closest('.tile')?.dataset.id);
const like = async (image_ids, favourite) => {
  try {
    await post('/api/gallery/favourite', { image_ids, favourite });
    tell('liked', { ids: image_ids, favourite });
  } catch (error) {
    toast(error.message);
  }
};
