// What it draws: its samples and pictures, enlarged, made its thumbnail, and its checkpoints beside each other.
const show_as_thumb = async (message) => {
  const item = await say(async () => (await post(`/api/loras/${lora.lora_id}/thumb`, message)).json());
  if (item) {
    changed(item);
    toast('Thumbnail changed');
  }
};
const enlarge = (url, words, thumb) => {
  const dialog = make(
    'dialog',
    { class: 'atelier-dialog atelier-sample', 'aria-label': words },
    make('img', { src: url, alt: words }),
    make('p', { text: words }),
    make(
      'div',
      { class: 'dialog-buttons' },
      lora
        ? button('Use as thumbnail', () => {
            dialog.close();
            show_as_thumb(thumb);
          })
        : null,
      button('Close', () => dialog.close(), 'primary'),
    ),
  );
  closes_beside(dialog);
  dialog.addEventListener('close', () => dialog.remove());
  document.querySelector('.gradio-container').append(dialog);
  dialog.showModal();
};
const shot = (url, words, thumb) =>
  make(
    'button',
    { type: 'button', class: 'shot', 'aria-label': `${words}, enlarge`, onclick: () => enlarge(url, words, thumb) },
    make('img', { src: url, alt: '', loading: 'lazy', decoding: 'async', width: 128, height: 128 }),
  );

// The last step is what the finished LoRA was made of.
const lora_of = (step) =>
  library?.loras.find(
    (each) => each.lora_id === `${making.run_id}-${step}` || (each.lora_id === making.run_id && each.steps === step),
  );
const checkpoint_row = (step, prompts) => {
  const kept = making.checkpoints.find((each) => each.step === step),
    promoted = lora_of(step);
  const cell = (prompt) => {
    const sample = making.samples.find((each) => each.step === step && each.prompt === prompt);
    return make('td', {}, sample ? shot(sample.url, `Step ${step}: ${prompt}`, { sample_key: sample.key }) : null);
  };
  return make(
    'tr',
    {},
    make(
      'th',
      { scope: 'row' },
      make('b', { text: step ? `Step ${step.toLocaleString()}` : 'Before' }),
      ...(kept
        ? [
            promoted && promoted.lora_id === lora?.lora_id
              ? make('small', { text: 'This LoRA' })
              : promoted
                ? button('Open LoRA', () => open({ lora_id: promoted.lora_id }), 'small')
                : make('button', {
                    type: 'button',
                    class: 'button small',
                    text: 'Promote',
                    'aria-label': `Promote step ${step}`,
                    onclick: () => promote(step),
                  }),
            make('button', {
              type: 'button',
              class: 'button small',
              text: 'Prompt',
              'aria-label': `Prompt with step ${step}`,
              onclick: () => prompt_with({ ...making, key: kept.key }),
            }),
          ]
        : []),
    ),
    ...prompts.map(cell),
  );
};
const picture_section = () =>
  make(
    'section',
    { 'aria-label': 'Pictures made with it' },
    make('h3', { text: 'Pictures made with it' }),
    make('p', { text: 'The latest ones. Open one to make it the thumbnail.' }),
    make(
      'div',
      { class: 'pictures' },
      ...pictures.map((picture, index) => shot(picture.thumb, `Picture ${index + 1}`, { image_id: picture.image_id })),
    ),
    button(
      'See all in the Gallery',
      () => {
        const { key } = lora;
        leave(() => find_pictures({ with: key }));
      },
      'small all',
    ),
  );
const checkpoint_section = () => {
  const steps = [...new Set([...making.samples, ...making.checkpoints].map((each) => each.step))].sort((a, b) => a - b),
    prompts = [...new Set(making.samples.map((each) => each.prompt))];
  return make(
    'section',
    { 'aria-label': 'Checkpoints' },
    make('h3', { text: 'Checkpoints side by side' }),
    make('p', {
      text: 'The same prompt and seed at every step. Promote the one you like best: it becomes a LoRA of its own and stays, even if the run is deleted.',
    }),
    making.checkpoints.length > 1
      ? button('Compare with your own prompts', () => leave(() => compare_checkpoints(making.run_id)), 'small compare')
      : null,
    make(
      'div',
      { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Samples by step and prompt' },
      make(
        'table',
        {},
        make(
          'thead',
          {},
          make(
            'tr',
            {},
            make('th', { scope: 'col', text: 'Checkpoint' }),
            ...prompts.map((prompt) => make('th', { scope: 'col', title: prompt }, make('span', { text: prompt }))),
          ),
        ),
        make('tbody', {}, ...steps.map((step) => checkpoint_row(step, prompts))),
      ),
    ),
  );
};
