// A crop drawn over a picture that takes up so much, in per cent, of the middle of what it is drawn on.
const crop_box = (crop, { across = 100, down = 100 } = {}) => {
  const lost = crop.lost >= 0.005 ? ` · ${Math.round(100 * crop.lost)}% cut off` : '';
  const box = atelier.make(
    'span',
    { class: 'crop' },
    atelier.make('span', { text: `${crop.width} × ${crop.height}${lost}` }),
  );
  box.style.cssText = `left:${(100 - across) / 2 + crop.left * across}%;top:${(100 - down) / 2 + crop.top * down}%;width:${crop.across * across}%;height:${crop.down * down}%`;
  return box;
};
