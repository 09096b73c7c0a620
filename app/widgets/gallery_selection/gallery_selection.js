const { post, confirm, toast, tell, plural } = atelier;
const bar = element.querySelector('.gallery-selection'),
  form = bar.querySelector('form');
const MOST = 5000;
let ids = [],
  all_liked = false;

window.addEventListener('atelier:selected', (event) => {
  ids = event.detail;
  bar.hidden = !ids.length || atelier.current_tab() !== 'gallery';
  all_liked = false;
  bar.querySelector('.like').textContent = 'Favourite';
  bar.querySelector('.compare').hidden = ids.length !== 2;
  bar.querySelector('b').textContent = `${ids.length.toLocaleString()} selected`;
});
window.addEventListener('atelier:tab', (event) => {
  bar.hidden = !ids.length || event.detail !== 'gallery';
});
const few_enough = () => {
  if (ids.length > MOST)
    toast(`${plural(ids.length, 'picture')} are too many at once. Choose up to ${MOST.toLocaleString()}.`);
  return ids.length <= MOST;
};
const on = (name, work) =>
  bar.querySelector(`.${name}`).addEventListener('click', async () => {
    if (!few_enough()) return;
    try {
      await work([...ids]);
    } catch (error) {
      toast(error.message);
    }
  });

window.addEventListener('atelier:delete-selected', () => bar.querySelector('.delete').click());
bar.querySelector('.none').addEventListener('click', () => tell('unselect'));
bar.querySelector('.all').addEventListener('click', () => tell('select-shown'));
on('compare', (image_ids) => tell('compare-pictures', image_ids));
on('like', async (image_ids) => {
  const favourite = !all_liked;
  await post('/api/gallery/favourite', { image_ids, favourite });
  tell('liked', { ids: image_ids, favourite });
  all_liked = favourite;
  bar.querySelector('.like').textContent = favourite ? 'Unfavourite' : 'Favourite';
  toast(
    favourite
      ? `${plural(image_ids.length, 'picture')} added to your favourites`
      : `${plural(image_ids.length, 'picture')} removed from your favourites`,
  );
});
// The browser writes the archive to disk as it comes: a form is the only way to ask for that with so many ids.
on('zip', (image_ids) => {
  form.elements.message.value = JSON.stringify({ image_ids });
  form.submit();
  toast(`${plural(image_ids.length, 'picture')} on the way as a ZIP. Your browser will save it.`);
});
on('delete', async (image_ids) => {
  const what = plural(image_ids.length, 'picture'),
    one = image_ids.length === 1;
  if (
    !(await confirm({
      title: `Delete ${what}?`,
      text: `${one ? 'It is' : 'They are'} deleted for good, along with ${one ? 'its' : 'their'} settings.`,
      yes: `Delete ${what}`,
    }))
  )
    return;
  await post('/api/gallery/delete', { image_ids });
  tell('deleted', image_ids);
  toast(`${what} deleted`);
});
