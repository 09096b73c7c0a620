// What to compare: the same in every cell, what changes, and what that would take.
const { make, get, send, duration, parameters, address, tell, toast } = atelier;
const $ = (selector) => element.querySelector(selector);
const form = $('.grid-form'),
  axes_box = $('.axes'),
  draw = $('#draw-grid');
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
const WAIT_MS = 350;
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
  const count = `${news.lengths.length > 1 ? `${sizes}: ` : ''}${news.cells} ${news.cells === 1 ? 'picture' : 'pictures'} to draw${same ? ` (${same} ${same === 1 ? 'repeat is' : 'repeats are'} shared)` : ''}`;
  const time =
    news.seconds === null
      ? 'the first one will tell how long it takes'
      : `about ${duration(news.seconds)} on one worker`;
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
  clearTimeout(timer); // what was changed just before would take back what is said now
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
    toast('This run has no checkpoints to compare.');
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
