// What can be done with the picture that is open.
const attempt = async (work) => {
  try {
    await work();
  } catch (error) {
    toast(error.message);
  }
};
const copy_prompt = () => copy(picture.prompt, 'Prompt copied');
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
      text: 'It is deleted for good, along with its settings.',
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
    const reply = await ask(`/api/gallery/${picture.image_id}/workflow`, { seconds: 60 });
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
