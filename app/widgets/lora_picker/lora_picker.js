const { make, poll, get, type_into, open_tab, tell, toast, arrow_keys } = atelier;
const root = element.querySelector('.lora-picker'),
  choices = root.querySelector('.choices'),
  chosen = root.querySelector('.chosen');
const search = root.querySelector('.search'),
  none = root.querySelector('.none');
const SEARCH_FROM = 6,
  MOST = 8, // LoRAs
  SHOWN = 60; // the rest is found by searching
let loras = [],
  version = '',
  known = false,
  asked_for = []; // keys

const value = () => ({ loras: [], architecture: '', base_model: '', ...props.value });
const set = (uses) => {
  props.value = { ...value(), loras: uses };
  paint();
};
atelier.lora_named = (key) => {
  const lora = loras.find((each) => each.key === key);
  return lora && `${lora.name} ${lora.detail}`.trim();
};
const fits = (lora) => lora.architecture === value().architecture;
const picture = (lora) =>
  lora?.thumb
    ? make('img', { class: 'thumb', src: lora.thumb, alt: '', loading: 'lazy' })
    : make('span', { class: 'thumb', 'aria-hidden': 'true', text: [...(lora?.name || '')][0] || '' });
const file_name = (key) => key.split('/').at(-1).replace('.safetensors', '');

const reason_against = (lora) =>
  fits(lora) ? '' : `${lora.name} is made for ${lora.base_model} and doesn’t fit ${value().base_model}.`;
const add = (lora) => {
  const reason = reason_against(lora);
  if (reason) toast(reason);
  else if (value().loras.length >= MOST) toast(`You can use up to ${MOST} LoRAs at once. Remove one first.`);
  else set([...value().loras, { key: lora.key, strength: 1 }]);
};
const choice = (lora) => {
  const reason = reason_against(lora);
  return make(
    'button',
    {
      type: 'button',
      class: 'choice',
      'aria-disabled': reason ? 'true' : null,
      title: reason || lora.name,
      onclick: () => add(lora),
    },
    picture(lora),
    make(
      'span',
      {},
      make('b', { text: lora.name }),
      make('small', {
        text: (reason && `Made for ${lora.base_model}`) || lora.detail || lora.trigger_word || lora.base_model,
      }),
    ),
  );
};

// As a word of its own: 'bot' is not said by 'robot'.
const says = (text, word) =>
  new RegExp(`(^|[^\\p{L}\\p{N}_])${word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}($|[^\\p{L}\\p{N}_])`, 'iu').test(text);
const trigger_chip = (lora) => {
  const word = lora?.trigger_word,
    box = document.querySelector('#prompt textarea');
  if (!word || !box || says(box.value, word)) return null;
  return make('button', {
    type: 'button',
    class: 'trigger',
    text: `+ Add “${word}” to the prompt`,
    onclick: () => {
      const text = box.value.trim();
      if (!says(text, word)) type_into('#prompt textarea', text ? `${text}, ${word}` : word);
      paint();
    },
  });
};

const row = (use) => {
  const lora = loras.find((each) => each.key === use.key),
    name = lora?.name || file_name(use.key);
  // Most strengths lie on the slider; the number beside it takes the others.
  const exact = make('input', {
    type: 'number',
    class: 'exact',
    min: -4,
    max: 4,
    step: 0.05,
    'aria-label': `${name}, exactly`,
  });
  const range = make('input', {
    type: 'range',
    class: 'track',
    min: 0,
    max: 1.5,
    step: 0.05,
    'aria-label': `Strength of ${name}`,
  });
  const show = (strength) => {
    range.value = strength;
    range.style.setProperty('--part', `${(100 * range.value) / range.max}%`);
  };
  const act = (strength) => {
    props.value = {
      ...value(),
      loras: value().loras.map((each) => (each.key === use.key ? { ...each, strength } : each)),
    };
  };
  range.addEventListener('input', () => {
    exact.value = (+range.value).toFixed(2);
    show(+range.value);
    act(+range.value);
  });
  exact.addEventListener('input', () => {
    if (exact.value && exact.checkValidity()) {
      show(+exact.value);
      act(+exact.value);
    }
  });
  exact.addEventListener('change', () => {
    exact.value = (value().loras.find((each) => each.key === use.key)?.strength ?? 1).toFixed(2);
  });
  exact.value = use.strength.toFixed(2);
  show(use.strength);
  return make(
    'li',
    {},
    picture(lora),
    make(
      'span',
      { class: 'name' },
      make('b', { text: name }),
      make('small', {
        text: lora ? lora.detail || lora.trigger_word : asked_for.includes(use.key) ? 'No longer there' : '',
      }),
    ),
    make('div', { class: 'strength', title: 'Strength' }, range, exact),
    make('button', {
      type: 'button',
      class: 'remove',
      'aria-label': `Remove ${name}`,
      text: '×',
      onclick: () => set(value().loras.filter((each) => each.key !== use.key)),
    }),
    trigger_chip(lora),
  );
};

const left = () => {
  const taken = new Set(value().loras.map((use) => use.key)),
    wanted = search.value.trim().toLowerCase();
  return loras
    .filter((lora) => !taken.has(lora.key))
    .filter((lora) => `${lora.name} ${lora.trigger_word} ${lora.detail}`.toLowerCase().includes(wanted))
    .sort((one, other) => fits(other) - fits(one));
};
const paint = () => {
  const focused = root.contains(document.activeElement);
  // One that does not fit the base model would only fail later.
  const unfit = value().loras.filter((use) => {
    const lora = loras.find((each) => each.key === use.key);
    return lora && !fits(lora);
  });
  if (unfit.length) props.value = { ...value(), loras: value().loras.filter((use) => !unfit.includes(use)) };
  const found = left(),
    more = found.length - SHOWN;
  chosen.replaceChildren(...value().loras.map(row));
  choices.replaceChildren(...found.slice(0, SHOWN).map(choice));
  if (more > 0)
    choices.append(make('p', { class: 'more', text: `${more.toLocaleString()} more. Search to find them.` }));
  search.hidden = loras.length < SEARCH_FROM;
  none.hidden = !known || found.length > 0 || (loras.length > 0 && !search.value.trim());
  none.replaceChildren(
    ...(loras.length
      ? [document.createTextNode('No LoRA matches.')]
      : [
          document.createTextNode('No LoRAs yet. The base model works on its own, too. '),
          make('button', { type: 'button', text: 'Train one', onclick: () => open_tab('train') }),
        ]),
  );
  if (focused && !root.contains(document.activeElement))
    (chosen.lastElementChild?.querySelector('input') || choices.firstElementChild)?.focus({ preventScroll: true });
};

const refresh = poll({
  element: root,
  failed: () => {},
  read: async () => {
    // A checkpoint of a training that is done is in the list only where it is asked for.
    const keys = value().loras.map(({ key }) => key),
      query = new URLSearchParams([['since', version], ...keys.map((key) => ['named', key])]);
    const news = await get(`/api/loras?${query}`),
      is_new = news || String(keys) !== String(asked_for);
    asked_for = keys;
    known = true;
    if (news) ({ loras, version } = news);
    if (is_new) paint();
    if (news) tell('loras-named');
    return 8000;
  },
});
search.addEventListener('input', paint);
search.addEventListener('keydown', (event) => {
  if (event.key === 'ArrowDown') choices.querySelector('.choice')?.focus();
  if (event.key !== 'Enter' || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const [first] = left();
  if (!first) return;
  search.value = '';
  add(first);
  search.focus();
});
arrow_keys(choices, '.choice');
watch('value', () => {
  paint();
  refresh();
});
document.addEventListener('input', (event) => {
  if (!event.target.closest('#prompt')) return;
  // Only the chips depend on the prompt: the sliders keep their place.
  [...chosen.children].forEach((item, index) => {
    item.querySelector('.trigger')?.remove();
    const chip = trigger_chip(loras.find((each) => each.key === value().loras[index]?.key));
    if (chip) item.append(chip);
  });
});
