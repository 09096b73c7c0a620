const { make, call } = atelier;
const root = element.querySelector('.caption-grid'), pictures = root.querySelector('.pictures');
const filter = root.querySelector('.filter'), saved = root.querySelector('.saved'), none = root.querySelector('.none');
const AFTER_TYPING_MS = 500, AGAIN_MS = 4000;
let dataset_id = null, timer = null, sending = null, missing = 0;
// What was typed and is not known to be stored yet: dataset id → content hash → caption.
const waiting = new Map();

const say = (text, unsaved = false) => { saved.textContent = text; saved.classList.toggle('unsaved', unsaved); };
const count_missing = change => {
  missing += change;
  root.querySelector('.missing').textContent = missing ? `${missing} without a caption` : '';
};

// One request at a time, so that an older caption can't arrive after a newer one; what fails is sent again.
const send = async () => {
  clearTimeout(timer);
  if (sending || !waiting.size) return;
  const [[id, captions]] = waiting;
  waiting.delete(id);
  sending = call(server.save_captions({ dataset_id: id, captions }));
  const answer = await sending;
  sending = null;
  if (answer.error) {
    waiting.set(id, { ...captions, ...waiting.get(id) });
    say(`Not saved yet. ${answer.error}`, true);
    timer = setTimeout(send, AGAIN_MS);
  } else if (waiting.size) {
    send();
  } else {
    say('All changes saved');
  }
};

const card = picture => {
  const text = make('textarea', { rows: 3, 'aria-label': `Caption for ${picture.name}`, placeholder: 'Describe this picture', spellcheck: 'false' });
  text.value = waiting.get(dataset_id)?.[picture.sha256] ?? picture.caption;
  const figure = make('figure', { title: `${picture.name} · ${picture.width} × ${picture.height}` },
    make('img', { loading: 'lazy', decoding: 'async', width: 384, height: 384, src: picture.thumb, alt: '' }), text);
  figure.dataset.sha256 = picture.sha256;
  figure.dataset.empty = picture.caption ? '' : 'yes';
  figure.dataset.name = picture.name.toLowerCase();
  return figure;
};

const show = () => {
  send();
  const dataset = props.value;
  root.hidden = !dataset?.pictures?.length;
  dataset_id = dataset?.dataset_id ?? null;
  filter.value = '';
  none.hidden = true;
  say('');
  pictures.replaceChildren(...(dataset?.pictures ?? []).map(card));
  const count = dataset?.pictures?.length ?? 0;
  root.querySelector('.count').textContent = count === 1 ? '1 picture' : `${count.toLocaleString()} pictures`;
  missing = 0;
  count_missing((dataset?.pictures ?? []).filter(picture => !picture.caption).length);
};

pictures.addEventListener('input', event => {
  const figure = event.target.closest('figure'), empty = event.target.value.trim() ? '' : 'yes';
  if (figure.dataset.empty !== empty) count_missing(empty ? 1 : -1);
  figure.dataset.empty = empty;
  waiting.set(dataset_id, { ...waiting.get(dataset_id), [figure.dataset.sha256]: event.target.value });
  say('Saving…');
  clearTimeout(timer);
  timer = setTimeout(send, AFTER_TYPING_MS);
});
// Enter goes to the next picture: a caption is one line.
pictures.addEventListener('keydown', event => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  let next = event.target.closest('figure').nextElementSibling;
  while (next?.hidden) next = next.nextElementSibling;
  next?.querySelector('textarea').focus();
});
filter.addEventListener('input', () => {
  const wanted = filter.value.trim().toLowerCase();
  let shown = 0;
  for (const figure of pictures.children) {
    figure.hidden = wanted !== '' && !figure.dataset.name.includes(wanted) && !figure.querySelector('textarea').value.toLowerCase().includes(wanted);
    shown += figure.hidden ? 0 : 1;
  }
  none.hidden = shown > 0;
});
pictures.addEventListener('focusout', send);
window.addEventListener('beforeunload', event => { if (waiting.size || sending) { send(); event.preventDefault(); } });
watch('value', show);
show();
