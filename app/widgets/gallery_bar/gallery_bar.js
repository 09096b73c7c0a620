const { make, parameters, address, tell, current_tab, plural } = atelier;
const root = element.querySelector('.gallery-bar'),
  part = (name) => root.querySelector(`.${name}`);
const TYPING_MS = 220;
const SELECTS = ['with', 'base', 'shape', 'when'];

// ---------------------------------------------------------------- the address and the controls

const is_days = (when) => when.includes('..');
const show = () => {
  const asked = parameters();
  if (document.activeElement !== part('words')) part('words').value = asked.get('q') || '';
  for (const name of SELECTS) {
    const value = asked.get(name) || '',
      select = part(name);
    // One that no picture is left of still says what is looked for.
    if (name !== 'when' && ![...select.options].some((option) => option.value === value)) {
      select.append(
        make('option', {
          value,
          text: atelier.lora_named?.(value) || value.split('/').at(-1).replace('.safetensors', ''),
        }),
      );
    }
    select.value = is_days(value) ? 'days' : value;
    select.classList.toggle('set', Boolean(value));
  }
  const when = asked.get('when') || '';
  part('days').hidden = part('when').value !== 'days';
  if (is_days(when)) [part('first').value, part('last').value] = when.split('..');
  part('liked').setAttribute('aria-pressed', String(asked.get('liked') === '1'));
};
const want = (changes, replace = false) => {
  address(changes, replace);
  show();
  tell('wanted');
};

let typing;
part('words').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => want({ q: part('words').value.trim() }, true), TYPING_MS);
});
for (const name of ['with', 'base', 'shape'])
  part(name).addEventListener('change', (event) => want({ [name]: event.target.value }));
part('when').addEventListener('change', (event) => {
  if (event.target.value !== 'days') {
    want({ when: event.target.value });
    return;
  }
  part('days').hidden = false;
  part('first').focus();
});
const choose_days = () =>
  want({ when: part('first').value || part('last').value ? `${part('first').value}..${part('last').value}` : '' });
part('first').addEventListener('change', choose_days);
part('last').addEventListener('change', choose_days);
part('liked').addEventListener('click', () => want({ liked: parameters().get('liked') === '1' ? '' : '1' }));
part('read').addEventListener('click', () => tell('choose-png'));

// Others may ask for pictures of something: a LoRA's, say.
window.addEventListener('atelier:find', () => {
  show();
  tell('wanted');
});
window.addEventListener('popstate', () => {
  if (current_tab() === 'gallery' || parameters().get('tab') === 'gallery') {
    show();
    tell('wanted');
  }
});

// ---------------------------------------------------------------- what there is to choose from

const fill = (name, all, choices) => {
  const select = part(name),
    value = select.value;
  select.replaceChildren(
    make('option', { value: '', text: all }),
    ...choices.map((each) =>
      make('option', { value: each.value, text: `${each.name} · ${each.pictures.toLocaleString()}` }),
    ),
  );
  select.value = value;
};
window.addEventListener('atelier:summary', (event) => {
  const { wanted, pictures, loras, base_models } = event.detail;
  fill('with', 'All LoRAs', loras);
  fill('base', 'All base models', base_models);
  show();
  part('count').textContent =
    wanted === pictures
      ? pictures
        ? plural(pictures, 'picture')
        : ''
      : `${wanted.toLocaleString()} of ${plural(pictures, 'picture')}`;
});

// ---------------------------------------------------------------- the layout

const show_lay = (lay) => {
  for (const each of root.querySelectorAll('.lay button'))
    each.setAttribute('aria-pressed', String(each.dataset.lay === lay));
};
root.querySelector('.lay').addEventListener('click', (event) => {
  const chosen = event.target.closest('button');
  if (!chosen) return;
  atelier.kept.set('lay', chosen.dataset.lay);
  show_lay(chosen.dataset.lay);
  tell('lay', chosen.dataset.lay);
});
show();
show_lay(atelier.kept.get('lay') || 'masonry');
