const { make, get, send, duration, parameters, address, tell, toast } = atelier;
const $ = (selector) => element.querySelector(selector);
const form = $('.grid-form'),
  axes_box = $('.axes'),
  draw = $('#draw-grid');
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
  prompt: 'One prompt a line',
  seed: '1–4',
  strength: '0–1 step 0.2',
  steps: '8, 12, 20',
  guidance: '1–4 step 0.5',
  checkpoint: 'all, or 100–300 step 100',
};
const FIRST = { seed: '1–3', strength: '0–1 step 0.5', checkpoint: 'all' };
// What a thing that varies makes needless to say for all cells.
const SAID_BY = {
  prompt: '.prompt',
  seed: '.seed',
  lora: '.lora',
  checkpoint: '.lora',
  strength: '.strength',
  steps: '.steps',
  guidance: '.guidance',
};
const WAIT_MS = 350,
  MOST_CHECKPOINTS = 10,
  MOST_LORAS = 6;
let choices = { base_models: [], loras: [], trainings: [] },
  timer = null,
  asked = 0,
  drawing = false;

const base = () => choices.base_models.find((each) => each.base_model === $('.base').value);
const fitting = (list) => list.filter((each) => each.architecture === base()?.architecture);
const option = (value, text) => make('option', { value, text });
const offer = (select, options) => {
  const chosen = select.value;
  select.replaceChildren(...options);
  if (options.some((each) => each.value === chosen)) select.value = chosen;
};

// ---------------------------------------------------------------- axes

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
    fitting(choices.loras).length ? null : make('p', { text: 'There are none for this base model yet.' }),
  );
const values_box = (kind, name, given) => {
  if (!kind) return [];
  if (kind === 'lora') return [files(given.keys || [])];
  const label = `Values of the ${name.toLowerCase()}`;
  const box =
    kind === 'prompt'
      ? make('textarea', { rows: 3, placeholder: EXAMPLES.prompt, 'aria-label': label })
      : make('input', { class: 'text', placeholder: EXAMPLES[kind], 'aria-label': label });
  box.value = given.text ?? FIRST[kind] ?? '';
  if (kind !== 'checkpoint') return [box];
  const trainings = make(
    'select',
    { class: 'training', 'aria-label': 'Training' },
    option('', 'Choose a training'),
    ...fitting(choices.trainings).map((each) => option(each.run_id, each.name)),
  );
  trainings.value = given.run_id || fitting(choices.trainings)[0]?.run_id || '';
  return [trainings, box];
};
const axis = (name, kind) => {
  const kinds = Object.entries(KINDS).filter(([each]) => each || name !== 'Columns');
  const select = make(
    'select',
    { class: 'kind', 'aria-label': `${name} vary` },
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
const axes = [axis('Columns', 'seed'), axis('Rows', ''), axis('Sheets', '')];
axes_box.append(...axes.map((each) => each.node));
for (const each of axes) each.fill({});

// ---------------------------------------------------------------- what is asked for

// Shows what is still to be said: a third axis only behind a second, and nothing for all cells that varies.
const show_parts = () => {
  const kinds = axes.map((each) => each.select.value);
  axes[2].node.hidden = !kinds[1] && !kinds[2];
  $('.tick').hidden = !kinds.some((kind) => ['lora', 'checkpoint', 'strength'].includes(kind));
  $('.hint').hidden = !kinds.some((kind) => EXAMPLES[kind]?.match(/\d/));
  const said = new Set(kinds.map((kind) => SAID_BY[kind]));
  for (const selector of new Set(Object.values(SAID_BY))) $(selector).closest('label').hidden = said.has(selector);
};
const number = (selector) => ($(selector).value.trim() === '' ? null : Number($(selector).value));
const wish = () => {
  const [width, height] = $('.shape').value.split('x').map(Number),
    varied = axes.map((each) => each.read()).filter((each) => each.kind);
  const possible = varied.some(({ kind }) => ['lora', 'checkpoint', 'strength'].includes(kind));
  return {
    base_model: $('.base').value,
    prompt: $('.prompt').value,
    lora_key: $('.lora').value || null,
    strength: number('.strength') ?? 1,
    width,
    height,
    seed: $('.seed').value.trim() || null,
    steps: number('.steps'),
    guidance: number('.guidance'),
    axes: varied,
    with_none: possible && $('.none').checked,
  };
};
const in_words = (news) => {
  const same = news.places - news.cells,
    sizes = news.lengths.join(' × ');
  const count = `${news.lengths.length > 1 ? `${sizes}: ` : ''}${news.cells} ${news.cells === 1 ? 'picture' : 'pictures'} to draw${same ? `, as ${same} would be the same` : ''}`;
  const time =
    news.seconds === null ? 'how long is known after the first' : `about ${duration(news.seconds)} on one worker`;
  return `${count}; ${time}${news.dollars === null ? '' : `, about $${news.dollars.toFixed(2)}`}.`;
};
const say = (outlook, problem) => {
  $('.outlook').textContent = outlook;
  $('.problem').textContent = problem;
};
const look_ahead = async () => {
  const mine = (asked += 1);
  // What is still being written is no mistake yet.
  if (
    !choices.base_models.length ||
    (!$('.prompt').value.trim() && !axes.some((each) => each.select.value === 'prompt'))
  ) {
    say('', '');
    return;
  }
  try {
    const news = await send('/api/grids/outlook', JSON.stringify(wish()));
    if (mine === asked) say(in_words(news), '');
  } catch (error) {
    if (mine === asked) say('', error.message);
  }
};
const soon = () => {
  show_parts();
  clearTimeout(timer);
  timer = setTimeout(look_ahead, WAIT_MS);
};
form.addEventListener('input', soon);
form.addEventListener('change', soon);
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  if (drawing) return;
  drawing = true;
  draw.disabled = true;
  draw.textContent = 'Starting…';
  asked += 1;
  try {
    const grid = await send('/api/grids', JSON.stringify(wish()));
    say('', '');
    tell('open-grid', grid.grid_id);
  } catch (error) {
    say('', error.message);
  }
  drawing = false;
  draw.disabled = false;
  draw.textContent = 'Draw the grid';
});

// ---------------------------------------------------------------- what there is to choose from

const offer_for_base = () => {
  const spec = base();
  if (!spec) return;
  offer(
    $('.shape'),
    spec.shapes.map((each) => option(`${each.width}x${each.height}`, each.name)),
  );
  offer($('.lora'), [option('', 'None'), ...fitting(choices.loras).map((each) => option(each.key, each.name))]);
  $('.steps').placeholder = spec.steps;
  $('.guidance').placeholder = spec.guidance;
  for (const each of axes) if (['lora', 'checkpoint'].includes(each.select.value)) each.fill(each.read());
  offer_recipes();
};

// ---------------------------------------------------------------- what people often compare

// So many that they can be judged, from the first to the last.
const spread = (steps) =>
  steps.length <= MOST_CHECKPOINTS
    ? 'all'
    : [
        ...new Set(
          Array.from(
            { length: MOST_CHECKPOINTS },
            (_, index) => steps[Math.round((index * (steps.length - 1)) / (MOST_CHECKPOINTS - 1))],
          ),
        ),
      ].join(', ');
const by_checkpoint = (training) => {
  axes[0].set('checkpoint', { run_id: training.run_id, text: spread(training.steps) });
  if (training.prompts.length) axes[1].set('prompt', { text: training.prompts.join('\n') });
  else if (!$('.prompt').value) $('.prompt').value = training.trigger_word;
};
const by_strength = () => {
  if (!$('.lora').value) $('.lora').value = fitting(choices.loras)[0].key;
  axes[0].set('strength', { text: '0.4–1.2 step 0.2' });
  axes[1].set('seed', { text: '1–3' });
};
const by_lora = () => {
  axes[0].set('lora', {
    keys: fitting(choices.loras)
      .slice(0, MOST_LORAS)
      .map((each) => each.key),
  });
  axes[1].set('seed', { text: '1–3' });
};
const by_seed = () => {
  axes[0].set('seed', { text: '1–4' });
  axes[1].set('steps', { text: [0.5, 1, 1.5].map((part) => Math.round(base().steps * part)).join(', ') });
};
const RECIPES = [
  ['Checkpoints', () => by_checkpoint(fitting(choices.trainings)[0]), () => fitting(choices.trainings).length],
  ['Strengths', by_strength, () => fitting(choices.loras).length],
  ['LoRAs', by_lora, () => fitting(choices.loras).length > 1],
  ['Seeds and steps', by_seed, () => true],
];
const offer_recipes = () => {
  const possible = RECIPES.filter(([, , there]) => there());
  $('.recipes').hidden = possible.length < 2;
  $('.recipes').replaceChildren(
    $('.recipes span'),
    ...possible.map(([text, work]) =>
      make('button', {
        type: 'button',
        text,
        onclick: () => {
          for (const each of axes) each.set('');
          work();
          soon();
        },
      }),
    ),
  );
};
// A grid that was drawn, to be changed and drawn again.
const fill_in = (wish) => {
  $('.base').value = wish.base_model;
  offer_for_base();
  if (wish.width) $('.shape').value = `${wish.width}x${wish.height}`;
  for (const [selector, value] of Object.entries({
    '.prompt': wish.prompt,
    '.lora': wish.lora_key,
    '.strength': wish.strength,
    '.seed': wish.seed,
    '.steps': wish.steps,
    '.guidance': wish.guidance,
  }))
    $(selector).value = value ?? '';
  $('.none').checked = wish.with_none;
  axes.forEach((each, index) => each.set(wish.axes[index]?.kind || '', wish.axes[index]));
  soon();
};
const compare_checkpoints = () => {
  const run_id = parameters().get('checkpoints'),
    training = choices.trainings.find((each) => each.run_id === run_id);
  if (!run_id) return;
  address({ checkpoints: '' }, true);
  if (!training) {
    toast('This training has no checkpoints to compare.');
    return;
  }
  $('.base').value = training.base_model;
  offer_for_base();
  for (const each of axes) each.set('');
  by_checkpoint(training);
};
const refresh = async () => {
  try {
    choices = await get('/api/grids/choices');
  } catch (error) {
    say('', error.message);
    return;
  }
  const first = !$('.base').value;
  offer(
    $('.base'),
    choices.base_models.map((each) => option(each.base_model, each.name)),
  );
  if (first) $('.base').value = choices.default_base_model;
  offer_for_base();
  compare_checkpoints();
  soon();
};
const start = () => {
  if (!parameters().get('grid')) return;
  // What was being prompted with is what one wants to compare.
  const written = document.querySelector('#prompt textarea')?.value;
  if (!$('.prompt').value && written) $('.prompt').value = written;
  refresh();
};
$('.base').addEventListener('change', offer_for_base);
window.addEventListener('atelier:grid', start);
window.addEventListener('atelier:grid-wish', (event) => fill_in(event.detail));
start();
