// Where each picture of the wall is, in pixels: in columns of whole pictures, or in squares.
const new_places = () => {
  let lay = atelier.kept.get('lay') === 'square' ? 'square' : 'masonry',
    columns = 1,
    gap = 11,
    side = 200,
    bottoms = [];
  const begin = (width) => {
    const phone = width < 600;
    gap = phone ? 5 : 11;
    columns = phone ? (lay === 'square' ? 3 : 2) : Math.max(3, Math.round(width / 215));
    side = (width - gap * (columns - 1)) / columns;
    bottoms = new Array(columns).fill(0);
  };
  return {
    choose: (chosen) => {
      lay = chosen;
    },
    side: () => side,
    // Gives the pictures from `from` on their places in a wall of this width, and returns how high it is.
    put: (items, from, width) => {
      if (!from) begin(width);
      for (let index = from; index < items.length; index += 1) {
        const item = items[index];
        // The shortest column takes the next: so `top` never goes back from one item to the next.
        item.column = lay === 'square' ? index % columns : bottoms.indexOf(Math.min(...bottoms));
        item.height_shown = lay === 'square' ? side : side * Math.min(2, Math.max(0.5, item.height / item.width));
        item.top = bottoms[item.column];
        bottoms[item.column] += item.height_shown + gap;
      }
      return Math.max(0, Math.max(...bottoms) - gap);
    },
    style: (item) =>
      `width:${side}px;height:${item.height_shown}px;transform:translate(${item.column * (side + gap)}px,${item.top}px)`,
    // The first picture that begins at this height or further down.
    first_below: (items, height) => {
      let low = 0,
        high = items.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (items[middle].top < height) low = middle + 1;
        else high = middle;
      }
      return low;
    },
    // The next picture in the same column, upwards or downwards; the same one at its end.
    in_column: (items, index, step) => {
      for (let at = index + step; items[at]; at += step) if (items[at].column === items[index].column) return at;
      return index;
    },
  };
};
