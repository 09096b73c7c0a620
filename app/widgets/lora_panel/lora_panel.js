const {
  make,
  get,
  post,
  ago,
  bytes,
  toast,
  confirm,
  tell,
  address,
  open_run,
  open_tab,
  find_pictures,
  compare_checkpoints,
} = atelier;
const panel = element.querySelector('.lora-panel');
// What is open: a LoRA, or only the checkpoints of a training; what comes after it is asked for in its own time.
let lora = null,
  making = null,
  pictures = [],
  library = null,
  at = 0;

const button = (label, work, kind = '') =>
  make('button', { type: 'button', class: `button ${kind}`, text: label, onclick: work });
const link = (label, work) => make('button', { type: 'button', class: 'link', text: label, onclick: work });
const fact = (name, value) =>
  value === null || value === '' || value === undefined
    ? []
    : [make('dt', { text: name }), make('dd', {}, value instanceof Node ? value : document.createTextNode(value))];
const say = async (work) => {
  try {
    return await work();
  } catch (error) {
    toast(error.message);
    return null;
  }
};
const leave = (work) => {
  panel.close();
  work();
};
const prompt_with = ({ key, base_model_id, trigger_word }) =>
  leave(() => trigger('prompt_lora', { key, base_model: base_model_id, trigger_word }));

// ---------------------------------------------------------------- opening

const open = async ({ lora_id, run_id }) => {
  const mine = ++at;
  const found = lora_id ? await say(() => get(`/api/loras/${lora_id}`)) : {};
  if (!found || mine !== at) {
    if (!found) address({ lora: '' }, true);
    return;
  }
  [lora, making, pictures] = [lora_id ? found : null, null, []];
  panel.replaceChildren();
  if (lora) {
    address({ lora: lora_id }, true);
    paint();
    show();
  }
  const run = lora ? lora.run_id : run_id;
  if (run)
    making = await get(`/api/loras/runs/${run}`).catch((error) => {
      if (!lora) toast(error.message);
      return null;
    });
  if (mine !== at || (!lora && !making)) return;
  paint_rest();
  if (!lora) {
    paint();
    show();
    return;
  }
  const made = await get(`/api/loras/${lora_id}/pictures`).catch(() => null);
  if (mine === at && made) {
    ({ pictures } = made);
    paint_rest();
  }
};
const show = () => {
  if (!panel.open) {
    panel.showModal();
    panel.scrollTop = 0;
  }
};

// ---------------------------------------------------------------- what can be done

const save = async (event) => {
  event.preventDefault();
  const form = event.target,
    tags = form.elements.tags.value
      .split(',')
      .map((tag) => tag.trim())
      .filter(Boolean);
  const message = { name: form.elements.name.value, note: form.elements.note.value, tags };
  const said = await say(async () => (await post(`/api/loras/${lora.lora_id}/label`, message)).json());
  if (!said) return;
  form.elements.save.disabled = true;
  changed(said);
  toast('Saved');
};
const changed = (item) => {
  lora = item;
  paint();
  tell('loras-changed');
};
const show_as_thumb = async (message) => {
  const item = await say(async () => (await post(`/api/loras/${lora.lora_id}/thumb`, message)).json());
  if (item) {
    changed(item);
    toast('This is its thumbnail now');
  }
};
const remove = async () => {
  const doomed = lora,
    going = await say(() => get(`/api/loras/${doomed.lora_id}/removal`));
  if (!going) return;
  const run = !going.checkpoints
    ? ''
    : going.checkpoints === 1
      ? ' Its run stays, and so does the checkpoint, which can be promoted again.'
      : ` Its run stays, and so do its ${going.checkpoints} checkpoints, which can be promoted again.`;
  const text = `Its file (${bytes(going.bytes)}), name, note and tags are deleted for good. The pictures made with it stay, with their settings.${run}`;
  if (!(await confirm({ title: `Delete “${doomed.name}”?`, text, yes: 'Delete' }))) return;
  if (!(await say(() => post(`/api/loras/${doomed.lora_id}/delete`)))) return;
  panel.close();
  tell('loras-changed');
  toast(`${doomed.name} is deleted`);
};
const promote = async (step) => {
  const item = await say(async () => (await post('/api/loras/promote', { run_id: making.run_id, step })).json());
  if (!item) return;
  tell('loras-changed');
  toast(`${item.name} is a LoRA of its own now`);
  open({ lora_id: item.lora_id });
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
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener('close', () => dialog.remove());
  document.querySelector('.gradio-container').append(dialog);
  dialog.showModal();
};
const copy = async (word) => {
  try {
    await navigator.clipboard.writeText(word);
    toast(`“${word}” copied`);
  } catch {
    toast('The browser did not allow copying.');
  }
};
const publish = () => {
  const missing = library?.publish_missing;
  if (missing) {
    toast(`Nothing can be published yet. ${missing}`);
    return;
  }
  tell('publish', { lora, samples: making?.samples || [], pictures });
};

const open_dataset = async () => {
  if (!(await say(() => get(`/api/datasets/${lora.dataset_id}`)))) return;
  const { dataset_id } = lora;
  leave(() => {
    open_tab('train');
    tell('dataset-made', dataset_id);
  });
};

// ---------------------------------------------------------------- painting

const facts = () =>
  make(
    'dl',
    {},
    ...fact('Base model', lora.base_model),
    ...fact('Trigger word', lora.trigger_word && link(lora.trigger_word, () => copy(lora.trigger_word))),
    ...fact('Run', lora.run_id ? link('Open its run', () => leave(() => open_run(lora.run_id))) : 'Imported'),
    ...fact('Dataset', lora.dataset && link(lora.dataset, open_dataset)),
    ...fact('Steps', lora.steps?.toLocaleString()),
    ...fact('Rank', lora.rank),
    ...fact('Size', bytes(lora.bytes)),
    ...fact('Made', ago(lora.created_at)),
    ...fact(
      'Published',
      lora.published &&
        make('a', { class: 'link', href: lora.published, target: '_blank', rel: 'noopener', text: 'On Hugging Face' }),
    ),
  );
const form = () => {
  // What is being typed outlives a change of the thumbnail.
  const draft = panel.querySelector('form');
  if (draft && !draft.elements.save.disabled) return draft;
  const save_button = make('button', {
    type: 'submit',
    name: 'save',
    class: 'button save',
    text: 'Save',
    disabled: true,
  });
  return make(
    'form',
    {
      onsubmit: save,
      oninput: () => {
        save_button.disabled = false;
      },
    },
    make(
      'label',
      {},
      document.createTextNode('Name'),
      make('input', { name: 'name', value: lora.name, maxlength: 80, required: true, autocomplete: 'off' }),
    ),
    make(
      'label',
      {},
      document.createTextNode('Tags, comma between'),
      make('input', { name: 'tags', value: lora.tags.join(', '), maxlength: 860, autocomplete: 'off' }),
    ),
    make(
      'label',
      { class: 'wide' },
      document.createTextNode('Note'),
      make('textarea', { name: 'note', maxlength: 4000, rows: 3, text: lora.note }),
    ),
    save_button,
  );
};
const head = () =>
  make(
    'div',
    { class: 'bar' },
    make('h2', { id: 'lora-panel-name', text: lora?.name || making.name }),
    make('button', { type: 'button', class: 'close', 'aria-label': 'Close', text: '×', onclick: () => panel.close() }),
  );
const doings = () =>
  make(
    'div',
    { class: 'doings' },
    button('Prompt with it', () => prompt_with(lora), 'primary'),
    make('a', { class: 'button', href: lora.download, download: '', text: 'Download' }),
    button('Publish…', publish),
    button('Delete', remove, 'danger-quiet'),
  );
const shot = (url, words, thumb) =>
  make(
    'button',
    { type: 'button', class: 'shot', 'aria-label': `${words}, enlarge`, onclick: () => enlarge(url, words, thumb) },
    make('img', { src: url, alt: '', loading: 'lazy', decoding: 'async', width: 128, height: 128 }),
  );
const paint = () => {
  const typed = panel.contains(document.activeElement) && document.activeElement.name;
  const parts = lora
    ? [
        make(
          'div',
          { class: 'top' },
          lora.thumb
            ? make('img', { class: 'cover', src: lora.thumb, alt: `What ${lora.name} draws` })
            : make('span', { class: 'cover letter', 'aria-hidden': 'true', text: [...lora.name][0] }),
          facts(),
        ),
        doings(),
        library?.publish_missing
          ? make('p', { class: 'hint', text: `To publish it on Hugging Face: ${library.publish_missing}` })
          : null,
        form(),
      ]
    : [];
  panel.replaceChildren(make('div', {}, head(), ...parts.filter(Boolean), make('div', { class: 'rest' })));
  paint_rest();
  if (panel.open) (typed ? panel.querySelector(`[name=${typed}]`) : panel.querySelector('.close')).focus();
};
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
                ? button('Its LoRA', () => open({ lora_id: promoted.lora_id }), 'small')
                : make('button', {
                    type: 'button',
                    class: 'button small',
                    text: 'Promote this one',
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
const paint_rest = () => {
  const rest = panel.querySelector('.rest'),
    parts = [];
  if (!rest) return;
  if (pictures.length)
    parts.push(
      make(
        'section',
        { 'aria-label': 'Pictures made with it' },
        make('h3', { text: 'Pictures made with it' }),
        make('p', { text: 'The newest ones. Open one to make it the thumbnail.' }),
        make(
          'div',
          { class: 'pictures' },
          ...pictures.map((picture, index) =>
            shot(picture.thumb, `Picture ${index + 1}`, { image_id: picture.image_id }),
          ),
        ),
        button(
          'All of them in the Gallery',
          () => {
            const { key } = lora;
            leave(() => find_pictures({ with: key }));
          },
          'small all',
        ),
      ),
    );
  if (making?.checkpoints.length) {
    const steps = [...new Set([...making.samples, ...making.checkpoints].map((each) => each.step))].sort(
        (a, b) => a - b,
      ),
      prompts = [...new Set(making.samples.map((each) => each.prompt))];
    parts.push(
      make(
        'section',
        { 'aria-label': 'Checkpoints' },
        make('h3', { text: 'Checkpoints beside each other' }),
        make('p', {
          text: 'The same prompt and seed at every step. A promoted one becomes a LoRA of its own, whatever becomes of the run.',
        }),
        making.checkpoints.length > 1
          ? button(
              'Compare them with prompts of your own',
              () => leave(() => compare_checkpoints(making.run_id)),
              'small compare',
            )
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
                ...prompts.map((prompt) => make('th', { scope: 'col', text: prompt })),
              ),
            ),
            make('tbody', {}, ...steps.map((step) => checkpoint_row(step, prompts))),
          ),
        ),
      ),
    );
  }
  rest.replaceChildren(...parts);
};

panel.addEventListener('click', (event) => {
  if (event.target === panel) panel.close();
});
panel.addEventListener('close', () => {
  at += 1;
  address({ lora: '' }, true);
  tell('lora-closed', lora?.lora_id || making?.run_id);
  panel.replaceChildren();
});
window.addEventListener('atelier:lora', (event) => open(event.detail));
window.addEventListener('atelier:library', (event) => {
  library = event.detail;
  if (panel.open) paint_rest();
});
window.addEventListener('atelier:published', async (event) => {
  if (lora?.lora_id !== event.detail || !panel.open) return;
  const item = await get(`/api/loras/${event.detail}`).catch(() => null);
  if (item) changed(item);
});
