const { make, get, post, bytes, confirm, toast, plural } = atelier;
const root = element.querySelector('.dataset-bar'),
  select = root.querySelector('.chosen'),
  menu = root.querySelector('.menu');
const problem = root.querySelector('.problem'),
  dialog = root.querySelector('dialog'),
  new_name = root.querySelector('.new-name');
const NEW = '';
let datasets = [],
  chosen = NEW,
  counted = 0;

const one = () => datasets.find((each) => each.dataset_id === chosen);
const address = (what = '') => `/api/datasets/${chosen}${what}`;

const draw = () => {
  root.hidden = !datasets.length && !problem.textContent;
  select.replaceChildren(
    make('option', { value: NEW, text: 'New dataset…' }),
    ...datasets.map((each) =>
      make('option', { value: each.dataset_id, text: `${each.name} · ${plural(each.pictures, 'picture')}` }),
    ),
  );
  select.value = chosen;
  menu.hidden = !one();
  root.querySelector('.download').href = address('/download');
};

const open = (id) => {
  chosen = id;
  draw();
  atelier.open_dataset(id);
  // The server has to know what Start training would train on.
  trigger('choose', { dataset_id: id });
  if (!id) count(0);
};

const list = async () => {
  let answered = true;
  try {
    datasets = (await get('/api/datasets')).datasets;
    problem.textContent = '';
  } catch (error) {
    problem.textContent = error.message;
    answered = false;
  }
  draw();
  return answered;
};

const attempt = async (work) => {
  problem.textContent = '';
  menu.open = false;
  try {
    await work();
  } catch (error) {
    problem.textContent = error.message;
  }
};

select.addEventListener('change', () => open(select.value));
root.querySelector('.duplicate').addEventListener('click', () =>
  attempt(async () => {
    toast('Copying the pictures…');
    const copy = await (await post(address('/duplicate'))).json();
    await list();
    open(copy.dataset_id);
    toast(`This is “${copy.name}”.`);
  }),
);
root.querySelector('.delete').addEventListener('click', () =>
  attempt(async () => {
    const removal = await get(address('/removal'));
    const runs =
      removal.runs === 1
        ? ' One training used it and keeps the pictures it used.'
        : removal.runs
          ? ` ${removal.runs} trainings used it and keep the pictures they used.`
          : '';
    const text = `This deletes ${plural(removal.pictures, 'picture')} (${bytes(removal.bytes)}) and their captions for good.${runs}`;
    if (!(await confirm({ title: `Delete “${one().name}”?`, text, yes: 'Delete' }))) return;
    await post(address('/delete'));
    chosen = NEW;
    await list();
    open(datasets[0]?.dataset_id ?? NEW);
  }),
);
root.querySelector('.rename').addEventListener('click', () => {
  menu.open = false;
  new_name.value = one().name;
  dialog.showModal();
  new_name.select();
});
dialog.querySelector('.cancel').addEventListener('click', () => dialog.close());
dialog.querySelector('form').addEventListener('submit', () =>
  attempt(async () => {
    await post(address('/rename'), { name: new_name.value });
    await list();
  }),
);
root.querySelector('.download').addEventListener('click', () => {
  menu.open = false;
});
atelier.closing(menu);
window.addEventListener('atelier:dataset-made', async (event) => {
  await list();
  open(event.detail);
});
window.addEventListener('atelier:dataset-changed', list);
// The grid reads a dataset with what has just arrived; the list may not know of that yet.
window.addEventListener('atelier:pictures', (event) => {
  const row = datasets.find((each) => each.dataset_id === event.detail.dataset_id);
  if (row) {
    row.pictures = event.detail.pictures.length;
    draw();
  }
  count(event.detail.pictures.length);
});
// How many steps are recommended goes by it.
const count = (pictures) => {
  if (pictures !== counted) {
    counted = pictures;
    trigger('counted', { pictures });
  }
};
// The server opens one after it made it.
watch('value', async () => {
  if (props.value?.dataset_id) {
    await list();
    open(props.value.dataset_id);
  }
});
const begin = async () => {
  for (let pause = 1000; !(await list()); pause = Math.min(30000, 2 * pause)) {
    document.body.dataset.datasets = 'unknown';
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  if (!one()) open(datasets[0]?.dataset_id ?? NEW);
  document.body.dataset.datasets = 'known';
};
begin();
