const { make, bytes } = atelier;
const root = element.querySelector('.dropzone'), note = root.querySelector('.note'), refused = root.querySelector('.refused');
const input = () => document.querySelector(`#${props.value.target} input[type=file]`);
let too_large = [];

const list_refused = files => refused.replaceChildren(...files.map(file =>
  make('li', {}, make('b', { text: file.name }),
    // Some reasons begin with the name already.
    document.createTextNode(file.reason.startsWith(file.name) ? file.reason.slice(file.name.length) : `: ${file.reason}`))));

const show = () => {
  const value = props.value || {};
  root.classList.remove('busy');
  if (value.compact) atelier.say('train', '');
  root.classList.toggle('compact', Boolean(value.compact));
  root.querySelector('h2').textContent = value.compact ? 'Drop more pictures, captions or ZIPs here' : 'Drop pictures of one thing, person or style';
  root.querySelector('.pick').textContent = value.compact ? 'Add files' : 'Choose files';
  note.textContent = value.note || '';
  list_refused([...(value.refused || []), ...too_large]);
  too_large = [];
};

// The files travel through Gradio's own upload, which checks and keeps them; this hands them over.
const hand_over = files => {
  const most = file => file.name.toLowerCase().endsWith('.zip') ? props.value.max_archive_bytes : props.value.max_bytes;
  too_large = files.filter(file => file.size > most(file)).map(file => ({ name: file.name, reason: `it is ${bytes(file.size)}; the most is ${bytes(most(file))}` }));
  const taken = files.filter(file => file.size <= most(file));
  if (!taken.length) { list_refused(too_large); too_large = []; return; }
  const transfer = new DataTransfer();
  for (const file of taken) transfer.items.add(file);
  root.classList.add('busy');
  note.textContent = taken.length === 1 ? `Sending ${taken[0].name}…` : `Sending ${taken.length} files…`;
  refused.replaceChildren();
  input().files = transfer.files;
  input().dispatchEvent(new Event('change', { bubbles: true }));
};

const picker = make('input', { type: 'file', multiple: true, hidden: true, tabindex: '-1', 'aria-hidden': 'true',
  onchange: () => { hand_over([...picker.files]); picker.value = ''; } });
element.append(picker);
root.querySelector('.pick').addEventListener('click', () => picker.click());
root.querySelector('.sample').addEventListener('click', () => {
  root.classList.add('busy');
  note.textContent = 'Getting the sample pictures…';
  trigger('sample', {});
});
for (const kind of ['dragenter', 'dragover']) root.addEventListener(kind, event => { event.preventDefault(); root.classList.add('over'); });
root.addEventListener('dragleave', event => { if (!root.contains(event.relatedTarget)) root.classList.remove('over'); });
root.addEventListener('drop', event => { event.preventDefault(); root.classList.remove('over'); hand_over([...event.dataTransfer.files]); });
// A file dropped beside the zone would replace the page.
for (const kind of ['dragover', 'drop']) window.addEventListener(kind, event => { if (!event.defaultPrevented) event.preventDefault(); });
watch('value', show);
show();
