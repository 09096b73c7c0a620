const { make, get, post, tell, toast, confirm, plural } = atelier;
const root = element.querySelector('.caption-grid'),
  pictures = root.querySelector('.pictures');
const filter = root.querySelector('.filter'),
  saved = root.querySelector('.saved'),
  none = root.querySelector('.none');
const bulk = root.querySelector('.bulk'),
  missing_button = root.querySelector('.missing');
const FIRST = 8; // pictures on a phone, until all are asked for
let dataset_id = '',
  base_model = '',
  resolution = '',
  crops = null;
const crop_choice = root.querySelector('.crop-choice');
const captions = new Map(),
  figures = new Map(),
  selected = new Set();

// Every key says that it is being saved: what says so already is left alone.
const say = (text, unsaved = false) => {
  if (saved.textContent !== text) saved.textContent = text;
  saved.classList.toggle('unsaved', unsaved);
  saved.ariaLive = unsaved ? 'polite' : 'off'; // that each pause in typing is saved is not read out
};
const saving = caption_saving(say, (id) => tell('captions-saved', id));
const is_empty = (sha256) => !captions.get(sha256).trim();
const shown = () => [...figures].filter(([, figure]) => !figure.hidden).map(([sha256]) => sha256);

// ---------------------------------------------------------------- cards

// A thousand are copied from one faster than they are made.
const blank = make(
  'figure',
  {},
  make('button', { type: 'button', class: 'frame' }, make('img', { loading: 'lazy', decoding: 'async', alt: '' })),
  make('input', { type: 'checkbox', class: 'pick-picture' }),
  make('textarea', { rows: 3, placeholder: 'Describe this picture', spellcheck: 'false', maxlength: 2000 }),
);
const card = (picture) => {
  const figure = blank.cloneNode(true),
    [frame, check, text] = figure.children;
  figure.title = `${picture.name} · ${picture.width} × ${picture.height}`;
  frame.setAttribute('aria-label', `Enlarge ${picture.name}`);
  frame.firstChild.src = picture.thumb;
  check.setAttribute('aria-label', `Select ${picture.name}`);
  text.setAttribute('aria-label', `Caption for ${picture.name}`);
  Object.assign(figure.dataset, {
    sha256: picture.sha256,
    width: picture.width,
    height: picture.height,
    name: picture.name.toLowerCase(),
    called: picture.name,
  });
  return figure;
};
const count = () => {
  const missing = [...captions.keys()].filter(is_empty).length;
  root.querySelector('.count').textContent = plural(figures.size, 'picture');
  root.querySelector('.show-all').textContent = `Show all ${plural(figures.size, 'picture')}`;
  root.classList.toggle('few', figures.size <= FIRST);
  missing_button.hidden = !missing;
  missing_button.textContent = `${missing.toLocaleString()} without a caption`;
};
const mark = () => {
  for (const [sha256, figure] of figures) {
    figure.classList.toggle('selected', selected.has(sha256));
    figure.querySelector('.pick-picture').checked = selected.has(sha256);
  }
  bulk.hidden = !selected.size;
  bulk.querySelector('.how-many').textContent = `${selected.size.toLocaleString()} selected`;
  tell_tools();
};
// The tools work on what is selected, else on what the filter shows.
const tell_tools = () =>
  tell('captions', { captions, chosen: selected.size ? [...selected] : shown(), selected: selected.size });

const show = (dataset) => {
  const known = new Set(dataset.pictures.map((picture) => picture.sha256));
  for (const [sha256, figure] of figures) {
    if (!known.has(sha256)) {
      figure.remove();
      figures.delete(sha256);
      captions.delete(sha256);
      selected.delete(sha256);
    }
  }
  const fresh = [];
  for (const picture of dataset.pictures) {
    const { sha256 } = picture;
    if (!figures.has(sha256)) {
      figures.set(sha256, card(picture));
      fresh.push(figures.get(sha256));
    }
    const caption = saving.unsaved(dataset.dataset_id)[sha256] ?? picture.caption;
    const text = figures.get(sha256).querySelector('textarea');
    captions.set(sha256, caption);
    if (text !== document.activeElement && text.value !== caption) text.value = caption;
  }
  pictures.append(...fresh);
  root.hidden = !figures.size;
  count();
  apply_filter();
  mark();
  tell('pictures', dataset);
  load_crops();
};

// ---------------------------------------------------------------- what each picture becomes

const CROPS_OFF = '';
const draw_crops = () => {
  const place = crops?.resolutions.indexOf(Number(crop_choice.value)) ?? -1;
  pictures.classList.toggle('cropped', place >= 0);
  for (const [sha256, figure] of figures) {
    figure.querySelector('.crop')?.remove();
    const crop = crops?.crops[sha256]?.[place];
    if (!crop) continue;
    // The whole picture is shown in a square: it may be narrower or lower than that.
    const { width, height } = figure.dataset,
      longest = Math.max(width, height),
      across = (100 * width) / longest,
      down = (100 * height) / longest;
    figure.querySelector('.frame').append(crop_box(crop, { across, down }));
  }
};
const load_crops = async () => {
  const id = dataset_id;
  if (!id || !base_model) return;
  try {
    const answer = await get(`/api/datasets/${id}/crops?${new URLSearchParams({ base_model, resolution })}`);
    if (id !== dataset_id) return;
    crops = answer;
  } catch {
    return;
  } // the list of pictures says what is wrong
  const before = crop_choice.value;
  crop_choice.replaceChildren(
    make('option', { value: CROPS_OFF, text: 'Crops: off' }),
    ...crops.resolutions.map((resolution) => make('option', { value: resolution, text: `Crops at ${resolution}` })),
  );
  crop_choice.value = crops.resolutions.includes(Number(before)) ? before : CROPS_OFF;
  draw_crops();
};

const load = async () => {
  const id = dataset_id;
  if (!id) return;
  try {
    const dataset = await get(`/api/datasets/${id}`);
    if (id === dataset_id) show(dataset);
  } catch (error) {
    root.hidden = false;
    say(error.message, true);
  }
};
const open = (id) => {
  saving.send();
  if (id === dataset_id) {
    load();
    return;
  }
  dataset_id = id;
  pictures.replaceChildren();
  figures.clear();
  captions.clear();
  selected.clear();
  root.classList.remove('whole');
  filter.value = '';
  root.hidden = true;
  say('');
  load();
};

// ---------------------------------------------------------------- filter and selection

const apply_filter = () => {
  const wanted = filter.value.trim().toLowerCase(),
    only_empty = missing_button.getAttribute('aria-pressed') === 'true';
  let found = 0;
  for (const [sha256, figure] of figures) {
    const text = captions.get(sha256);
    figure.hidden =
      (wanted !== '' && !figure.dataset.name.includes(wanted) && !text.toLowerCase().includes(wanted)) ||
      (only_empty && text.trim() !== '' && !figure.contains(document.activeElement));
    found += figure.hidden ? 0 : 1;
  }
  if (wanted || only_empty) root.classList.add('whole');
  none.hidden = found > 0 || !figures.size;
  tell_tools();
};
const select = async (names) => {
  // The check-up may know of pictures that came after what is shown.
  if (names.some((sha256) => !figures.has(sha256))) await load();
  selected.clear();
  if (names.length) root.classList.add('whole');
  for (const sha256 of names) if (figures.has(sha256)) selected.add(sha256);
  mark();
  figures.get(names[0])?.scrollIntoView({ block: 'center', behavior: 'smooth' });
};
const apply = ({ captions: changed, said, is_undo }) => {
  const before = Object.fromEntries(Object.keys(changed).map((sha256) => [sha256, captions.get(sha256)]));
  for (const [sha256, caption] of Object.entries(changed)) {
    captions.set(sha256, caption);
    figures.get(sha256).querySelector('textarea').value = caption;
  }
  count();
  saving.now(dataset_id, changed);
  apply_filter();
  tell('captions-applied', { before, said, is_undo });
};

const write = (sha256, caption) => {
  const was_empty = is_empty(sha256),
    text = figures.get(sha256).querySelector('textarea');
  captions.set(sha256, caption);
  if (text.value !== caption) text.value = caption;
  if (was_empty !== is_empty(sha256)) count();
  saving.soon(dataset_id, { [sha256]: caption });
};
pictures.addEventListener('input', (event) => {
  if (event.target.matches('textarea')) write(event.target.closest('figure').dataset.sha256, event.target.value);
});
let last_picked = '';
pictures.addEventListener('click', (event) => {
  if (!event.target.matches('.pick-picture')) return;
  const { sha256 } = event.target.closest('figure').dataset,
    on = event.target.checked,
    order = shown();
  const from = order.indexOf(last_picked),
    to = order.indexOf(sha256);
  const range = event.shiftKey && from >= 0 ? order.slice(Math.min(from, to), Math.max(from, to) + 1) : [sha256];
  for (const each of range) selected[on ? 'add' : 'delete'](each);
  last_picked = sha256;
  mark();
});
// Enter goes to the next picture: a caption is one line.
pictures.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing || !event.target.matches('textarea')) return;
  event.preventDefault();
  let next = event.target.closest('figure').nextElementSibling;
  while (next?.hidden) next = next.nextElementSibling;
  if (next && !next.offsetParent) root.classList.add('whole');
  next?.querySelector('textarea').focus();
});
const sheet = picture_sheet({ shown, figures, captions, write, crops: () => crops });
pictures.addEventListener('click', (event) => {
  const figure = event.target.closest('.frame')?.closest('figure');
  if (figure) sheet.open(figure.dataset.sha256, crop_choice.value || crops?.resolutions.at(-1) || CROPS_OFF);
});
root
  .querySelector('.skip')
  .addEventListener('click', () => element.closest('.tabitem').querySelector('.rail :is(input, textarea)').focus());
root.querySelector('.show-all').addEventListener('click', () => root.classList.add('whole'));
filter.addEventListener('input', apply_filter);
missing_button.addEventListener('click', () => {
  missing_button.setAttribute('aria-pressed', String(missing_button.getAttribute('aria-pressed') !== 'true'));
  apply_filter();
});
bulk.querySelector('.all').addEventListener('click', () => select(shown()));
bulk.querySelector('.no-one').addEventListener('click', () => select([]));
bulk.querySelector('.remove').addEventListener('click', async () => {
  const names = [...selected],
    title = `Remove ${plural(names.length, 'picture')}?`;
  const text =
    'They are removed from this dataset together with their captions. Trainings that used them keep their copies.';
  if (!(await confirm({ title, text, yes: 'Remove' }))) return;
  try {
    await post(`/api/datasets/${dataset_id}/remove`, { pictures: names });
    toast(`${plural(names.length, 'picture')} removed.`);
  } catch (error) {
    say(error.message, true);
  }
  tell('dataset-changed', dataset_id);
});
pictures.addEventListener('focusout', saving.send);
window.addEventListener('atelier:dataset', (event) => open(event.detail));
window.addEventListener('atelier:dataset-changed', (event) => {
  if (event.detail === dataset_id) load();
});
crop_choice.addEventListener('change', draw_crops);
window.addEventListener('atelier:setup', ({ detail }) => {
  if (base_model === detail.base_model && resolution === detail.resolution) return;
  ({ base_model, resolution } = detail);
  load_crops();
});
window.addEventListener('atelier:select-pictures', (event) => select(event.detail));
// Stored already by the server that described it; what was typed meanwhile stays.
window.addEventListener('atelier:described', ({ detail }) => {
  if (detail.dataset_id !== dataset_id || !captions.has(detail.picture) || !is_empty(detail.picture)) return;
  captions.set(detail.picture, detail.caption);
  figures.get(detail.picture).querySelector('textarea').value = detail.caption;
  count();
  apply_filter();
  tell('captions-saved', dataset_id);
});
window.addEventListener('atelier:apply-captions', (event) => apply(event.detail));
tell('which-setup');
open(atelier.opened_dataset());
