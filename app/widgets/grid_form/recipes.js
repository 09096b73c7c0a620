// What people often compare, filled in by one press.
const MOST_CHECKPOINTS = 10,
  MOST_LORAS = 6;
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
  // For all cells, too, should the prompts not be what varies.
  if (!$('.prompt').value) $('.prompt').value = training.prompts[0] || training.trigger_word;
  if (training.prompts.length) axes[1].set('prompt', { text: training.prompts.join('\n') });
};
// A word to begin with: without it the first look would only say that there is no prompt.
const prompt_for = (keys) => {
  const { trigger_word } = choices.loras.find((each) => keys.includes(each.key) && each.trigger_word) || {};
  if (!$('.prompt').value) $('.prompt').value = trigger_word || '';
};
const by_strength = () => {
  if (!$('.lora').value) $('.lora').value = fitting(choices.loras)[0].key;
  prompt_for([$('.lora').value]);
  axes[0].set('strength', { text: '0.4–1.2 step 0.2' });
  axes[1].set('seed', { text: '1–3' });
};
const by_lora = () => {
  const keys = fitting(choices.loras)
    .slice(0, MOST_LORAS)
    .map((each) => each.key);
  prompt_for(keys);
  axes[0].set('lora', { keys });
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
