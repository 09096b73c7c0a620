// The list of all grids.
const thumbs = (each) =>
  make(
    'span',
    { class: 'thumbs', 'aria-hidden': 'true' },
    ...each.thumbs.map((src) =>
      make('img', { src, alt: '', loading: 'lazy', decoding: 'async', onerror: (event) => event.target.remove() }),
    ),
  );
const row = (each) =>
  make(
    'li',
    {},
    make(
      'button',
      { type: 'button', onclick: () => tell('open-grid', each.grid_id) },
      thumbs(each),
      make('b', { text: each.title }),
      make('small', { text: ago(each.created_at) }),
      make('small', {
        text: `${each.axes.map(capital).join(' × ')} · ${each.cells} ${each.cells === 1 ? 'picture' : 'pictures'}`,
      }),
    ),
  );
