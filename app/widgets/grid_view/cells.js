// The cells of a grid: waiting, being drawn, drawn, or ended without a picture.
const shape = () => `aspect-ratio:${grid.width}/${grid.height}`;
// The view turns through the sheet as it lies there, and says of each picture what sets it apart.
const open_picture = (place) => {
  const first = sheet * tiles.length,
    drawn = tiles
      .map((_, index) => ({ index, picture: grid.cells[grid.places[first + index]].picture }))
      .filter(({ picture }) => picture);
  tell('picture', {
    ids: drawn.map(({ picture }) => picture.image_id),
    at: drawn.findIndex(({ index }) => index === place),
    captions: drawn.map(({ index }) =>
      [
        grid.columns[index % grid.columns.length],
        grid.rows[Math.floor(index / grid.columns.length)],
        grid.sheets[sheet],
      ]
        .filter(Boolean)
        .join(' · '),
    ),
    places: drawn.map(({ index }) => index),
    across: grid.columns.length,
  });
};
const kind_of = (cell) =>
  cell.picture
    ? cell.picture.image_id
    : is_going(cell)
      ? `${cell.status} ${cell.step}`
      : `${cell.status} ${cell.problem?.message}`;
const why = (cell) =>
  cell.problem
    ? `${cell.problem.message} ${cell.problem.hint}`.trim()
    : 'It was never started, or its run has been deleted.';
const cell_tile = (cell, place) => {
  if (cell.picture) {
    const image = make('img', { src: cell.picture.thumb, alt: cell.words, loading: 'lazy', decoding: 'async' });
    const tile = make(
      'button',
      {
        type: 'button',
        class: 'cell',
        style: shape(),
        'aria-label': `Open: ${cell.words}`,
        onclick: () => open_picture(place),
      },
      image,
    );
    image.addEventListener('error', () =>
      tile.replaceWith(make('div', { class: 'cell ended', style: shape(), text: 'Deleted' })),
    );
    return tile;
  }
  if (is_going(cell)) {
    const words =
      cell.status === 'running' && cell.steps
        ? `${cell.step} of ${cell.steps}`
        : cell.status === 'running'
          ? 'Starting'
          : STATUS[cell.status];
    return make(
      'div',
      { class: `cell going ${cell.status === 'running' ? 'shines' : ''}`, style: shape() },
      make('small', { text: words }),
    );
  }
  return make(
    'div',
    { class: `cell ended ${cell.status === 'cancelled' ? '' : 'failed'}`, style: shape(), title: why(cell) },
    make('small', { text: STATUS[cell.status] }),
    act('Retry', 'Starting…', 'retry', { run_id: cell.run_id }),
  );
};
