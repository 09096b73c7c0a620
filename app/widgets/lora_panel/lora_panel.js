// One LoRA, or the checkpoints of a training: opened, painted, and what can be done with it.
const {
  make,
  button,
  copy,
  closes_beside,
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

const link = (label, work) => make('button', { type: 'button', class: 'link', text: label, onclick: work });
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

const changed = (item) => {
  lora = item;
  paint();
  tell('loras-changed');
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
  toast(`${doomed.name} deleted`);
};
const promote = async (step) => {
  const item = await say(async () => (await post('/api/loras/promote', { run_id: making.run_id, step })).json());
  if (!item) return;
  tell('loras-changed');
  toast(`${item.name} is now a LoRA of its own`);
  open({ lora_id: item.lora_id });
};
const publish = () => {
  const missing = library?.publish_missing;
  if (missing) {
    toast(`Publishing isn’t set up yet. ${missing}`);
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

const head = () =>
  make(
    'div',
    { class: 'bar' },
    make('h2', { id: 'lora-panel-name', text: lora?.name || making.name }),
    make('button', {
      type: 'button',
      class: 'close-button',
      'aria-label': 'Close',
      text: '×',
      onclick: () => panel.close(),
    }),
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
          ? make('p', { class: 'hint', text: `To publish on Hugging Face: ${library.publish_missing}` })
          : null,
        form(),
      ]
    : [];
  panel.replaceChildren(make('div', {}, head(), ...parts.filter(Boolean), make('div', { class: 'rest' })));
  paint_rest();
  if (panel.open) (typed ? panel.querySelector(`[name=${typed}]`) : panel.querySelector('.close-button')).focus();
};
const paint_rest = () =>
  panel
    .querySelector('.rest')
    ?.replaceChildren(
      ...[pictures.length && picture_section(), making?.checkpoints.length && checkpoint_section()].filter(Boolean),
    );

closes_beside(panel);
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
