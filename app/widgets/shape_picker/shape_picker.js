const { make } = atelier;
const shapes = element.querySelector('.shapes');
const LONGEST = 27; // pixels of an outline

const value = () => ({ sizes: [], width: 0, height: 0, ...props.value });
const outline = ({ width, height }) => {
  const scale = LONGEST / Math.max(width, height);
  return make('span', { class: 'outline', 'aria-hidden': 'true' }, make('i', { style: `width:${Math.round(width * scale)}px;height:${Math.round(height * scale)}px` }));
};
const choice = size => {
  const { width, height } = value();
  const radio = make('input', { type: 'radio', name: 'shape', 'aria-label': `${size.name}, ${size.width} × ${size.height}`, onchange: () => { props.value = { ...value(), width: size.width, height: size.height }; } });
  radio.checked = size.width === width && size.height === height;
  return make('label', { title: size.name }, radio, outline(size), make('b', { text: size.name.replace(/ \d+:\d+$/, '') }), make('small', { text: `${size.width} × ${size.height}` }));
};
let painted = '';
const paint = () => {
  const { sizes, width, height } = value();
  const known = sizes.some(size => size.width === width && size.height === height);
  const all = known ? sizes : [...sizes, { name: 'As it was', width, height }];
  const mark = JSON.stringify([all, width, height]);
  // Painted by the radio itself already, and it has to keep the keyboard.
  if (mark === painted || shapes.contains(document.activeElement)) return;
  painted = mark;
  shapes.replaceChildren(...all.map(choice));
};
watch('value', paint);
paint();
