// What is known of a LoRA, and the form that names it anew.
const fact = (name, value) =>
  value === null || value === '' || value === undefined
    ? []
    : [make('dt', { text: name }), make('dd', {}, value instanceof Node ? value : document.createTextNode(value))];
const facts = () =>
  make(
    'dl',
    { class: 'facts-list' },
    ...fact('Base model', lora.base_model),
    ...fact(
      'Trigger word',
      lora.trigger_word && link(lora.trigger_word, () => copy(lora.trigger_word, `“${lora.trigger_word}” copied`)),
    ),
    ...fact('Run', lora.run_id ? link('Open the run', () => leave(() => open_run(lora.run_id))) : 'Imported'),
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
      make('input', {
        class: 'entry',
        name: 'name',
        value: lora.name,
        maxlength: 80,
        required: true,
        autocomplete: 'off',
      }),
    ),
    make(
      'label',
      {},
      document.createTextNode('Tags, separated by commas'),
      make('input', { class: 'entry', name: 'tags', value: lora.tags.join(', '), maxlength: 860, autocomplete: 'off' }),
    ),
    make(
      'label',
      { class: 'wide' },
      document.createTextNode('Note'),
      make('textarea', { class: 'entry', name: 'note', maxlength: 4000, rows: 3, text: lora.note }),
    ),
    save_button,
  );
};
