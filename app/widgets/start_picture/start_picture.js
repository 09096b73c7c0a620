const { make, closes_beside, get, current_tab } = atelier;
const root = element.querySelector('.start-picture'),
  none = root.querySelector('.none'),
  one = root.querySelector('.one');
const image = one.querySelector('img'),
  range = one.querySelector('input'),
  shown = one.querySelector('output');
const refused = root.querySelector('.refused'),
  input = root.querySelector('input[type=file]'),
  dialog = root.querySelector('dialog');
const EMPTY = { key: '', url: '', width: 0, height: 0, pending: false };
let sending = 0,
  local = '';

const value = () => ({ ...EMPTY, denoise: 0.6, ...props.value });
const set = (changes) => {
  props.value = { ...value(), ...changes };
  paint();
};
const show_part = () => {
  shown.textContent = (+range.value).toFixed(2);
  range.style.setProperty('--part', `${100 * range.value}%`);
};
const paint = () => {
  const { key, url, width, height, denoise, pending } = value(),
    filled = Boolean(key || pending);
  const focused = (filled ? none : one).contains(document.activeElement);
  none.hidden = filled;
  one.hidden = !filled;
  root.classList.toggle('filled', filled);
  root.classList.toggle('pending', pending);
  if (filled && image.getAttribute('src') !== url) image.src = url;
  if (!filled) image.removeAttribute('src');
  one.querySelector('small').textContent = pending
    ? 'Uploading…'
    : width
      ? `${width} × ${height}, cropped to the shape you draw`
      : 'Cropped to the shape you draw';
  range.value = denoise;
  show_part();
  if (focused) (filled ? range : none.querySelector('.file')).focus({ preventScroll: true });
};

// ---------------------------------------------------------------- a file

const forget_local = () => {
  if (local) URL.revokeObjectURL(local);
  local = '';
};
const send = async (file) => {
  if (!file) return;
  const turn = (sending += 1);
  refused.textContent = '';
  forget_local();
  local = URL.createObjectURL(file);
  set({ ...EMPTY, url: local, pending: true });
  let taken,
    sentence = '';
  try {
    const address = `/api/start-pictures?name=${encodeURIComponent(file.name || 'picture')}`;
    taken = await atelier.send(address, file, { seconds: 120 });
  } catch (error) {
    sentence = error.message;
  }
  if (turn !== sending) return; // taken away, or replaced by another
  set(sentence ? EMPTY : { ...taken, pending: false });
  forget_local();
  refused.textContent = sentence;
};
const clear = () => {
  sending += 1;
  refused.textContent = '';
  forget_local();
  set(EMPTY);
};
none.querySelector('.file').addEventListener('click', () => input.click());
input.addEventListener('change', () => {
  send(input.files[0]);
  input.value = '';
});
one.querySelector('.remove').addEventListener('click', clear);
range.addEventListener('input', () => {
  show_part();
  props.value = { ...value(), denoise: +range.value };
});

// Anywhere on the tab may be dropped on: the slot alone would be easy to miss.
const brings_file = (event) =>
  current_tab() === 'generate' &&
  [...(event.dataTransfer?.types || [])].includes('Files') &&
  !document.querySelector('dialog[open]');
document.addEventListener('dragover', (event) => {
  if (brings_file(event)) {
    event.preventDefault();
    root.classList.add('over');
  }
});
document.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) root.classList.remove('over');
});
document.addEventListener('drop', (event) => {
  root.classList.remove('over');
  if (!brings_file(event)) return;
  event.preventDefault();
  send(event.dataTransfer.files[0]);
});
document.addEventListener('paste', (event) => {
  const file = [...(event.clipboardData?.files || [])].find((each) => each.type.startsWith('image/'));
  if (file && current_tab() === 'generate' && !document.querySelector('dialog[open]')) {
    event.preventDefault();
    send(file);
  }
});

// ---------------------------------------------------------------- one of the gallery's

const choose = (picture) => {
  dialog.close();
  sending += 1;
  refused.textContent = '';
  set({ ...EMPTY, key: picture.key, url: picture.thumb, width: picture.width, height: picture.height });
};
const tile = (picture) =>
  make(
    'button',
    {
      type: 'button',
      'aria-label': `Start from: ${picture.prompt}`,
      onclick: async (event) => {
        event.currentTarget.disabled = true;
        try {
          choose(await get(`/api/gallery/${picture.image_id}`));
        } catch (error) {
          dialog.close();
          refused.textContent = error.message;
        }
      },
    },
    make('img', { src: picture.thumb, alt: '', loading: 'lazy', decoding: 'async' }),
  );
const open_gallery = async () => {
  const place = make('div', { class: 'choices' }),
    about = make('p', {
      text: 'These are your newest pictures. For any other, open it in the Gallery and choose “Use as start”.',
    });
  dialog.replaceChildren(
    make('h2', { id: 'start-gallery-title', text: 'Start from one of your pictures' }),
    about,
    place,
    make(
      'div',
      { class: 'dialog-buttons' },
      make('button', { type: 'button', class: 'button', text: 'Close', onclick: () => dialog.close() }),
    ),
  );
  dialog.showModal();
  try {
    const { pictures } = await get('/api/gallery');
    place.replaceChildren(...pictures.map(tile));
    if (!pictures.length) about.textContent = 'No pictures yet. What you generate appears here.';
    place.querySelector('button')?.focus();
  } catch (error) {
    about.textContent = error.message;
  }
};
none.querySelector('.gallery').addEventListener('click', open_gallery);
closes_beside(dialog);
dialog.addEventListener('close', () => dialog.replaceChildren());

watch('value', () => {
  if (!value().pending) {
    sending += 1;
    refused.textContent = '';
  }
  paint();
});
paint();
