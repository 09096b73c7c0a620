// One thing that varies: its kind and its values.
const KINDS = {
  '': 'Nothing',
  prompt: 'Prompt',
  seed: 'Seed',
  lora: 'LoRA',
  checkpoint: 'Checkpoint',
  strength: 'Strength',
  steps: 'Steps',
  guidance: 'Guidance',
};
const EXAMPLES = {
  prompt: 'One prompt per line',
  seed: '1–4',
  strength: '0–1 step 0.2',
  steps: '8, 12, 20',
  guidance: '1–4 step 0.5',
  checkpoint: 'all, or 100–300 step 100',
};
const FIRST = { seed: '1–3', strength: '0–1 step 0.5', checkpoint: 'all' };

const files = (chosen) =>
  make(
    'div',
    { class: 'files', role: 'group', 'aria-label': 'LoRAs to compare' },
    ...fitting(choices.loras).map((lora) =>
      make(
        'label',
        {},
        make('input', { type: 'checkbox', value: lora.key, checked: chosen.includes(lora.key) }),
        document.createTextNode(lora.name),
      ),
    ),
    fitting(choices.loras).length ? null : make('p', { text: 'No LoRAs for this base model yet.' }),
  );
const values_box = (kind, name, given) => {
  if (!kind) return [];
  if (kind === 'lora') return [files(given.keys || [])];
  const label = `Values of the ${name.toLowerCase()}`;
  const box =
    kind === 'prompt'
      ? make('textarea', { class: 'entry', rows: 3, placeholder: EXAMPLES.prompt, 'aria-label': label })
      : make('input', { class: 'entry text', placeholder: EXAMPLES[kind], 'aria-label': label });
  box.value = given.text ?? FIRST[kind] ?? '';
  if (kind !== 'checkpoint') return [box];
  const trainings = make(
    'select',
    { class: 'entry training', 'aria-label': 'Run' },
    option('', 'Choose a run'),
    ...fitting(choices.trainings).map((each) => option(each.run_id, each.name)),
  );
  trainings.value = given.run_id || fitting(choices.trainings)[0]?.run_id || '';
  return [trainings, box];
};
const axis = (name, kind) => {
  const kinds = Object.entries(KINDS).filter(([each]) => each || name !== 'Columns');
  const select = make(
    'select',
    { class: 'entry kind', 'aria-label': `${name} vary` },
    ...kinds.map(([value, text]) => option(value, text)),
  );
  const box = make('div', { class: 'values' });
  const fill = (given) => box.replaceChildren(...values_box(select.value, name, given));
  select.value = kind;
  select.addEventListener('change', () => fill({}));
  const node = make('fieldset', { 'aria-label': name }, make('b', { text: name, 'aria-hidden': 'true' }), select, box);
  const set = (wanted, given = {}) => {
    select.value = wanted;
    fill(given);
  };
  return {
    node,
    fill,
    set,
    select,
    read: () => {
      const text = box.querySelector('textarea, .text')?.value ?? '',
        run_id = box.querySelector('.training')?.value || null;
      return {
        kind: select.value,
        text,
        run_id,
        keys: [...box.querySelectorAll('.files input:checked')].map((each) => each.value),
      };
    },
  };
};
