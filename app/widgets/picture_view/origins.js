// Where a picture comes from: its LoRAs with their trainings and datasets, and the picture it was started from.
const step = (kind, name, detail, work) =>
  make(
    'li',
    { class: work ? null : 'gone' },
    make('small', { text: kind }),
    work ? make('button', { type: 'button', text: name, onclick: leave(work) }) : make('span', { text: name }),
    make('em', { text: detail }),
  );
const opened = (from) =>
  from.key.startsWith('runs/') ? () => compare_checkpoints(from.run_id) : () => open_lora(from.key.split('/')[2]);
// One LoRA and where it came from: each a click away, and what is gone is said.
const origin = (from) =>
  make(
    'ol',
    { class: 'origin' },
    step(
      from.key.startsWith('runs/') ? 'Checkpoint' : 'LoRA',
      from.name,
      `× ${from.strength}${from.there ? '' : ' · deleted'}`,
      from.there && opened(from),
    ),
    step('Pictures', 'All with this LoRA', '', () => find_pictures({ with: from.key })),
    !from.run_id
      ? step('Training', 'Imported', 'trained elsewhere')
      : from.run_there
        ? step('Training', 'Open the run', from.step === null ? '' : `step ${from.step.toLocaleString()}`, () =>
            open_run(from.run_id),
          )
        : step('Training', 'Deleted', ''),
    !from.dataset_id
      ? ''
      : from.dataset_there
        ? step('Dataset', from.dataset_name, `${from.pictures.toLocaleString()} pictures`, () => {
            open_tab('train');
            tell('dataset-made', from.dataset_id);
          })
        : step('Dataset', from.dataset_name, 'deleted'),
  );
const start = () =>
  make(
    'ol',
    { class: 'origin' },
    make(
      'li',
      {},
      make('small', { text: 'Start' }),
      picture.start_id
        ? make('button', {
            type: 'button',
            text: 'Another picture',
            onclick: () => open({ ids: [picture.start_id], at: 0 }),
          })
        : make('span', { text: 'A file' }),
      make('em', { text: `changed by ${picture.denoise}` }),
    ),
  );
