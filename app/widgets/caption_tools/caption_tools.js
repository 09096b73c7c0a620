const { tell, toast, plural } = atelier;
const root = element.querySelector('.caption-tools'),
  form = root.querySelector('form'),
  undo = root.querySelector('.undo');
const find = root.querySelector('.find'),
  text = root.querySelector('.text'),
  scope = root.querySelector('.scope');
const MOST = 2000;
let captions = new Map(),
  chosen = [],
  selected = 0;
const undone = []; // what bulk changes replaced, the newest last
const what = () => form.elements.what.value;
const joined = (...parts) =>
  parts
    .map((part) => part.trim())
    .filter(Boolean)
    .join(', ');

// Each gives a caption's new text.
const CHANGES = {
  replace: (caption) => (find.value ? caption.split(find.value).join(text.value) : caption),
  front: (caption) => joined(text.value, caption),
  behind: (caption) => joined(caption, text.value),
  set: () => text.value.trim(),
};
const changes = () =>
  Object.fromEntries(
    chosen
      .map((sha256) => [sha256, CHANGES[what()](captions.get(sha256)).slice(0, MOST)])
      .filter(([sha256, caption]) => caption !== captions.get(sha256)),
  );

const show = () => {
  find.hidden = what() !== 'replace';
  text.placeholder = what() === 'replace' ? 'Replace with' : what() === 'set' ? 'One caption for all' : 'Text';
  const whose = selected ? ' selected' : chosen.length === captions.size ? '' : ' shown',
    changed = Object.keys(changes()).length;
  scope.textContent = `Changes ${changed.toLocaleString()} of ${chosen.length.toLocaleString()}${whose}.`;
};

// Of the pictures that are chosen, those that nobody has described.
const empty = () => chosen.filter((sha256) => !captions.get(sha256)?.trim());
const describing = describe_pictures(root, props.value);
root.querySelector('.describe').addEventListener('click', () => describing.press(empty(), () => empty().length));

form.addEventListener('input', show);
form.addEventListener('submit', (event) => {
  event.preventDefault();
  const changed = changes(),
    count = Object.keys(changed).length;
  if (count) tell('apply-captions', { captions: changed, said: `${plural(count, 'caption')} changed.` });
  else toast('There is nothing to change.');
});
undo.addEventListener('click', () => {
  const before = undone.pop();
  // A picture may be gone by now.
  const back = Object.fromEntries(Object.entries(before).filter(([sha256]) => captions.has(sha256)));
  tell('apply-captions', { captions: back, said: 'Change undone.', is_undo: true });
  undo.hidden = !undone.length;
});
window.addEventListener('atelier:captions', (event) => {
  ({ captions, chosen, selected } = event.detail);
  root.hidden = !captions.size;
  describing.show(empty().length);
  if (root.querySelector('details').open) show();
});
window.addEventListener('atelier:captions-applied', (event) => {
  const { before, said, is_undo } = event.detail;
  if (!is_undo) undone.push(before);
  undo.hidden = !undone.length;
  toast(said);
  show();
});
window.addEventListener('atelier:dataset', () => {
  undone.length = 0;
  undo.hidden = true;
  describing.clear();
});
root.querySelector('details').addEventListener('toggle', show);
