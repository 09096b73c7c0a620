const { make, poll, get, ago, bytes, copy, tell, parameters, open_run, open_tab, arrow_keys, plural } = atelier;
const $ = (selector) => element.querySelector(selector);
const root = $('.lora-shelf'),
  cards = $('.lora-shelf > .cards'),
  makings = $('.makings');
const search = $('.search'),
  base = $('.base'),
  order = $('.order');
const ORDERS = {
  newest: (one, other) => other.created_at - one.created_at,
  oldest: (one, other) => one.created_at - other.created_at,
  name: (one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }),
  largest: (one, other) => other.bytes - one.bytes,
};
const TOOLS_FROM = 2;
let library = null,
  version = '',
  wanted = parameters().get('lora') || '';

const picture = (thumb, name) =>
  thumb
    ? make('img', { class: 'thumb', src: thumb, alt: '', loading: 'lazy', decoding: 'async', width: 222, height: 222 })
    : make('span', { class: 'thumb letter', 'aria-hidden': 'true', text: [...name][0] });
const opener = (id, name, label, thumb, lines, detail) => {
  const button = make(
    'button',
    { type: 'button', class: 'open', 'aria-label': label, onclick: () => tell('lora', detail) },
    picture(thumb, name),
    make('b', { text: name, title: name }),
    ...lines.map((line) => make('small', { text: line })),
  );
  button.dataset.id = id;
  return button;
};
const origin = (lora) => {
  if (!lora.run_id) return make('span', { class: 'origin', text: 'Imported' });
  const link = make('button', {
    type: 'button',
    text: 'Run',
    'aria-label': `The run of ${lora.name}`,
    onclick: () => open_run(lora.run_id),
  });
  return make(
    'span',
    { class: 'origin', title: lora.dataset },
    link,
    lora.dataset ? document.createTextNode(` · ${lora.dataset}`) : null,
  );
};
const tag_chip = (tag) =>
  make('button', {
    type: 'button',
    class: 'chip',
    text: tag,
    title: `Show what is tagged ${tag}`,
    onclick: () => {
      search.value = tag;
      paint();
      search.focus();
    },
  });
const card = (lora) =>
  make(
    'li',
    { class: 'card' },
    opener(
      lora.lora_id,
      lora.name,
      `Open ${lora.name}`,
      lora.thumb,
      [lora.base_model, `${bytes(lora.bytes)} · ${ago(lora.created_at)}`],
      { lora_id: lora.lora_id },
    ),
    make(
      'div',
      { class: 'about' },
      origin(lora),
      lora.trigger_word
        ? make('button', {
            type: 'button',
            class: 'trigger',
            text: lora.trigger_word,
            title: 'Copy the trigger word',
            'aria-label': `Copy the trigger word ${lora.trigger_word}`,
            onclick: () => copy(lora.trigger_word, `“${lora.trigger_word}” copied`),
          })
        : null,
      lora.tags.length ? make('span', { class: 'tags' }, ...lora.tags.map(tag_chip)) : null,
    ),
  );
const making_card = (making) =>
  make(
    'li',
    { class: 'card' },
    opener(
      making.run_id,
      making.name,
      `Compare the checkpoints of ${making.name}`,
      making.thumb,
      [making.base_model, plural(making.checkpoints, 'checkpoint')],
      { run_id: making.run_id },
    ),
  );

const matches = (lora) => {
  const text = [lora.name, lora.trigger_word, lora.note, lora.dataset, ...lora.tags].join(' ').toLowerCase();
  return (
    (!base.value || lora.base_model === base.value) &&
    search.value
      .toLowerCase()
      .split(/\s+/)
      .every((word) => text.includes(word))
  );
};
const paint = () => {
  if (!library) return;
  const focused = root.contains(document.activeElement) ? document.activeElement.dataset.id : null;
  const shown = library.loras.filter(matches).sort(ORDERS[order.value]),
    all = library.loras.length;
  cards.replaceChildren(...shown.map(card));
  makings.hidden = !library.makings.length;
  makings.querySelector('.cards').replaceChildren(...library.makings.map(making_card));
  $('.tools').hidden = all < TOOLS_FROM;
  $('.count').textContent = shown.length === all ? `${all} LoRAs` : `${shown.length} of ${all}`;
  $('.no-match').hidden = shown.length > 0 || all === 0;
  $('.empty-state').hidden = all > 0 || library.makings.length > 0;
  if (focused) root.querySelector(`[data-id="${focused}"]`)?.focus({ preventScroll: true });
};
const offer_bases = () => {
  const names = [...new Set(library.loras.map((lora) => lora.base_model))].sort(),
    chosen = base.value;
  base.replaceChildren(
    make('option', { value: '', text: 'All base models' }),
    ...names.map((name) => make('option', { value: name, text: name })),
  );
  base.value = names.includes(chosen) ? chosen : '';
  base.hidden = names.length < 2;
};

const refresh = poll({
  element: root,
  failed: (sentence) => {
    $('.poll-notice').textContent = sentence;
  },
  read: async () => {
    const news = await get(`/api/loras/library?since=${version}`);
    if (news) {
      ({ version } = news);
      library = news;
      offer_bases();
      paint();
      tell('library', library);
    }
    if (wanted) {
      tell('lora', { lora_id: wanted });
      wanted = '';
    }
    return 10000;
  },
});
search.addEventListener('input', paint);
base.addEventListener('change', paint);
order.addEventListener('change', paint);
arrow_keys(cards, '.open');
search.addEventListener('keydown', (event) => {
  if (event.key === 'ArrowDown') cards.querySelector('.open')?.focus();
});
window.addEventListener('atelier:loras-changed', refresh);
window.addEventListener('atelier:lora-closed', (event) =>
  root.querySelector(`[data-id="${event.detail}"]`)?.focus({ preventScroll: true }),
);
$('.train').addEventListener('click', () => open_tab('train'));
$('.import').addEventListener('click', () => tell('import-loras'));
