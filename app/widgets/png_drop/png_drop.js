const { make, button, closes_beside, post, toast, current_tab } = atelier;
const root = element.querySelector('.png-drop'),
  target = root.querySelector('.target'),
  input = root.querySelector('input'),
  dialog = root.querySelector('dialog');
let depth = 0,
  picture = '',
  opener = null;

const here = (event) =>
  current_tab() === 'gallery' &&
  [...(event.dataTransfer?.types || [])].includes('Files') &&
  !document.querySelector('dialog[open]');
const cover = (on) => {
  depth = on ? depth : 0;
  target.hidden = !on;
};
document.addEventListener('dragenter', (event) => {
  if (here(event)) {
    depth += 1;
    cover(true);
  }
});
document.addEventListener('dragleave', () => {
  if (!target.hidden && --depth <= 0) cover(false);
});
document.addEventListener('dragover', (event) => {
  if (!target.hidden) event.preventDefault();
});
document.addEventListener('drop', (event) => {
  if (target.hidden) return;
  event.preventDefault();
  cover(false);
  read(event.dataTransfer.files[0]);
});
window.addEventListener('atelier:choose-png', () => {
  opener = document.activeElement;
  input.click();
});
input.addEventListener('change', () => {
  read(input.files[0]);
  input.value = '';
});

const read = async (file) => {
  if (!file) return;
  try {
    show(await atelier.send('/api/gallery/read', file, { seconds: 120 }), file);
  } catch (error) {
    refuse(file, error.message);
  }
};
const open = (...content) => {
  dialog.replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
};
const refuse = (file, sentence) =>
  open(
    make('h2', { id: 'png-found-title', text: file.name }),
    make('p', { text: sentence }),
    make(
      'div',
      { class: 'dialog-buttons' },
      button('Close', () => dialog.close()),
    ),
  );
const fact = (name, value) =>
  value === '' || value === null ? [] : [make('dt', { text: name }), make('dd', { text: value })];

const show = (found, file) => {
  const reuse = (part) => {
    dialog.close();
    const { prompt, negative_prompt, base_model, loras, steps, guidance, width, height } = found;
    trigger('reuse', {
      part,
      settings: { prompt, negative_prompt, base_model, loras, steps, guidance, width, height, seed: found.seed },
    });
  };
  const lacking = [];
  if (found.model && !found.base_model)
    lacking.push(`The model “${found.model}” isn’t in this studio, so the form keeps its own.`);
  if (found.missing_loras.length)
    lacking.push(
      `${found.missing_loras.length === 1 ? 'A LoRA is' : 'Some LoRAs are'} missing here: ${found.missing_loras.join(', ')}.`,
    );
  if (found.negative_prompt && !found.heeds_negative_prompt)
    lacking.push(`${found.base_model_name || 'The model on the form'} may ignore the negative prompt.`);
  picture = URL.createObjectURL(file);
  open(
    make('h2', { id: 'png-found-title', text: `Made with ${found.tool}` }),
    make(
      'div',
      { class: 'found' },
      make('img', { src: picture, alt: 'The picture you dropped' }),
      make(
        'div',
        {},
        make('p', { class: 'prompt', text: found.prompt, tabindex: 0 }),
        make(
          'dl',
          { class: 'facts-list' },
          ...fact('Seed', found.seed),
          ...fact('Size', found.width && found.height ? `${found.width} × ${found.height}` : null),
          ...fact('Steps', found.steps),
          ...fact('Guidance', found.guidance),
          ...fact('Model', found.base_model_name || found.model),
          ...found.lora_names.flatMap((name) => fact('LoRA', name)),
          ...fact('Negative prompt', found.negative_prompt),
        ),
      ),
    ),
    lacking.length ? make('p', { class: 'lacking', text: lacking.join(' ') }) : '',
    make(
      'div',
      { class: 'dialog-buttons' },
      button('Close', () => dialog.close(), 'quiet'),
      found.seed === null ? '' : button('Seed only', () => reuse('seed')),
      button('Prompt only', () => reuse('prompt')),
      button('Use in Generate', () => reuse('all'), 'primary'),
    ),
  );
  dialog.querySelector('.primary').focus();
};
closes_beside(dialog);
dialog.addEventListener('close', () => {
  URL.revokeObjectURL(picture);
  dialog.replaceChildren();
  opener?.focus();
  opener = null;
});
