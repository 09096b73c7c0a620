const { make } = atelier;
const shapes = element.querySelector('.shapes');
const LONGEST = 27; // pixels of an outline
let known = '',
  odd = null; // the sizes that are drawn, and one beside them that a picture had

const value = () => ({ sizes: [], width: 0, height: 0, ...props.value });
const is = (size, { width, height }) => size.width === width && size.height === height;
const outline = ({ width, height }) => {
  const scale = LONGEST / Math.max(width, height);
  return make(
    'span',
    { class: 'outline', 'aria-hidden': 'true' },
    make('i', { style: `width:${Math.round(width * scale)}px;height:${Math.round(height * scale)}px` }),
  );
};
const choice = (size) =>
  make(
    'label',
    { title: size.name },
    make('input', {
      type: 'radio',
      name: 'shape',
      value: `${size.width}x${size.height}`,
      'aria-label': `${size.name}, ${size.width} × ${size.height}`,
      onchange: () => {
        props.value = { ...value(), width: size.width, height: size.height };
      },
    }),
    outline(size),
    make('b', { text: size.name.replace(/ \d+:\d+$/, '') }),
    make('small', { text: `${size.width} × ${size.height}` }),
  );
const paint = () => {
  const { sizes, width, height } = value(),
    listed = JSON.stringify(sizes);
  const is_odd = !sizes.some((size) => is(size, value()));
  // Made anew only where something else is to be seen: a radio that has the keyboard keeps it.
  if (listed !== known || (is_odd && !(odd && is(odd, value())))) {
    [known, odd] = [listed, is_odd ? { name: 'Custom', width, height } : null];
    shapes.replaceChildren(...[...sizes, ...(odd ? [odd] : [])].map(choice));
  }
  for (const radio of shapes.querySelectorAll('input')) radio.checked = radio.value === `${width}x${height}`;
};
watch('value', paint);
paint();
