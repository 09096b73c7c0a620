// The tiles of a press: waiting, what is being drawn so far, and the picture.
const shape = (run) => `aspect-ratio:${run.width}/${run.height}`;
const open_picture = (run, at) =>
  tell('picture', {
    ids: run.pictures.map((each) => each.image_id),
    at,
    thumb_of: (id) => run.pictures.find((each) => each.image_id === id)?.thumb,
  });
const picture_tile = (run, picture, index) => {
  const image = make('img', {
    src: picture.thumb,
    alt: picture.prompt,
    title: picture.prompt === run.prompt ? null : picture.prompt,
    loading: 'lazy',
    decoding: 'async',
  });
  const tile = make(
    'button',
    {
      type: 'button',
      class: 'tile',
      style: shape(picture),
      'aria-label': `Open picture ${index + 1}: ${picture.prompt}`,
      onclick: () => open_picture(tile.run || run, index),
    },
    image,
  );
  // While its run goes on, the next look finds what is still on its way to storage.
  image.addEventListener('error', () => {
    const entry = shown.get(key_of(run)),
      going = entry && is_going(entry.run);
    if (going) entry.tiles[index] = '';
    if (going && tile.preview) return;
    (tile.preview || tile).replaceWith(
      going ? making_tile(run, '') : make('div', { class: 'tile gone', style: shape(picture), text: 'Deleted' }),
    );
  });
  return tile;
};
const making_tile = (run, preview) =>
  make(
    'div',
    { class: 'tile making shines', style: shape(run) },
    preview ? make('img', { class: 'preview', src: preview, alt: `So far: ${run.prompt}` }) : null,
  );
// The preview in the tile is exchanged once the next one has been loaded, so that it does not flicker.
const show_preview = (tile, preview) => {
  const image = tile.querySelector('img');
  const next = new Image();
  next.onload = () => {
    image.src = preview;
  };
  next.src = preview;
};
// What a picture looked like so far stays until it is there itself: it may still be on its way to storage.
const wait_behind = (preview, tile) => {
  const image = tile.querySelector('img');
  tile.preview = preview;
  image.loading = 'eager';
  image.addEventListener(
    'load',
    () => {
      preview.replaceWith(tile);
      tile.preview = null;
    },
    { once: true },
  );
};
// What each tile shows, as a word that changes when the tile has to.
const tile_kind = (run, index) => {
  if (run.pictures[index]) return `picture ${run.pictures[index].image_id}`;
  return run.preview && index === run.preview_index ? 'preview' : 'waiting';
};
const put_tiles = (entry, run) => {
  const box = entry.node.querySelector('.tiles');
  if (!box) return;
  for (let index = 0; index < run.count; index += 1) {
    const kind = tile_kind(run, index),
      tile = box.children[index];
    if (tile && entry.tiles[index] === kind) {
      if (kind === 'preview') show_preview(tile, run.preview);
      tile.run = run;
      continue;
    }
    const is_picture = kind.startsWith('picture');
    const fresh = is_picture
      ? picture_tile(run, run.pictures[index], index)
      : making_tile(run, kind === 'preview' ? run.preview : '');
    if (is_picture && tile?.querySelector('.preview')) wait_behind(tile, fresh);
    else tile ? tile.replaceWith(fresh) : box.append(fresh);
    entry.tiles[index] = kind;
  }
  while (box.children.length > run.count) box.lastElementChild.remove();
};
