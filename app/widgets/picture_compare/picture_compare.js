// Two pictures against each other, and in a table only what sets them apart.
const { make, closes_beside, get, toast } = atelier;
const dialog = element.querySelector('.picture-compare'),
  $ = (selector) => dialog.querySelector(selector);
const divide = $('.divide'),
  ways = [...dialog.querySelectorAll('[data-way]')];
// The checkpoints of a training have one name: their steps tell them apart.
const lora_words = ({ name, step, strength }) =>
  `${name}${step === null ? '' : `, step ${step.toLocaleString()},`} × ${strength}`;
const FACTS = [
  ['Prompt', (picture) => picture.prompt],
  ['Negative prompt', (picture) => picture.negative_prompt],
  ['LoRAs', (picture) => picture.origins.map(lora_words).join(', ') || 'None'],
  ['Seed', (picture) => picture.seed],
  ['Steps', (picture) => String(picture.steps)],
  ['Guidance', (picture) => String(picture.guidance)],
  ['Size', (picture) => `${picture.width} × ${picture.height}`],
  ['Base model', (picture) => picture.base_model],
];
let pair = [],
  opener = null;

const show_way = (way) => {
  dialog.dataset.way = way;
  for (const each of ways) each.setAttribute('aria-pressed', String(each.dataset.way === way));
};
const show_part = () => $('.frame').style.setProperty('--part', `${divide.value}%`);
const paint = () => {
  ['.first', '.second'].forEach((side, index) => {
    $(`${side} img`).src = pair[index].url;
    $(`${side} img`).alt = `${index ? 'Second' : 'First'}: ${pair[index].prompt}`;
  });
  // Both are shown within the shape of the first.
  $('.frame').style.setProperty('--ratio', pair[0].width / pair[0].height);
  const rows = FACTS.map(([name, read]) => [name, ...pair.map(read)]),
    apart = rows.filter(([, first, second]) => first !== second);
  $('tbody').replaceChildren(
    ...apart.map(([name, first, second]) =>
      make(
        'tr',
        {},
        make('th', { scope: 'row', text: name }),
        make('td', { text: first || '–' }),
        make('td', { text: second || '–' }),
      ),
    ),
  );
  $('table').hidden = !apart.length;
  const same = rows.filter(([, first, second]) => first === second && first).map(([name]) => name);
  $('.same').textContent = !apart.length
    ? 'Both were made with the same settings.'
    : same.length
      ? `Same in both: ${same.join(', ')}.`
      : '';
  // What a caption says where nothing else is read: the one thing that differs, or which it is.
  const [only] = apart.length === 1 ? apart : [];
  ['.first', '.second'].forEach((side, index) => {
    $(`${side} figcaption`).textContent = only ? `${only[0]} ${only[index + 1] || '–'}` : index ? 'Second' : 'First';
  });
};
const swap = () => {
  pair.reverse();
  paint();
};
const open = async (ids) => {
  opener = document.activeElement;
  try {
    pair = await Promise.all(ids.map((id) => get(`/api/gallery/${id}`)));
  } catch (error) {
    toast(error.message);
    return;
  }
  divide.value = 50;
  show_part();
  show_way('slide');
  paint();
  dialog.showModal();
  divide.focus();
};

divide.addEventListener('input', show_part);
for (const each of ways) each.addEventListener('click', () => show_way(each.dataset.way));
$('.swap').addEventListener('click', swap);
$('.close-button').addEventListener('click', () => dialog.close());
dialog.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const doings = { s: swap, 1: () => ways[0].click(), 2: () => ways[1].click(), 3: () => ways[2].click() };
  const work = doings[event.key.toLowerCase()];
  if (!work) return;
  event.preventDefault();
  work();
});
closes_beside(dialog);
dialog.addEventListener('close', () => {
  for (const image of dialog.querySelectorAll('img')) image.removeAttribute('src');
  opener?.focus({ preventScroll: true });
});
window.addEventListener('atelier:compare-pictures', (event) => open(event.detail));
