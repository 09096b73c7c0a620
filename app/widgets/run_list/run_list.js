const { make, poll, get, ago, STATUS, is_going, parameters, open_run, open_tab } = atelier;
const root = element.querySelector('.run-list'),
  list = root.querySelector('ul'),
  empty = root.querySelector('.empty-state');
let version = '',
  runs = [],
  chosen = parameters().get('run') || '',
  brought_up = ''; // the run whose row was scrolled to: it may lie far down

const row = (run) => {
  const going = is_going(run),
    share = run.steps ? (100 * run.step) / run.steps : 0;
  const state = run.status === 'running' && run.phase ? atelier.capital(run.phase) : STATUS[run.status];
  const link = make(
    'a',
    { href: `?tab=runs&run=${run.run_id}`, 'aria-current': run.run_id === chosen ? 'true' : 'false' },
    run.thumb
      ? make('img', { class: 'thumb', src: run.thumb, alt: '', loading: 'lazy' })
      : make('span', { class: 'thumb' }),
    make('b', { text: run.name }),
    make(
      'small',
      {},
      make('i', { class: `dot ${run.status}` }),
      make('span', { text: `${state} · ${run.base_model} · ${ago(run.submitted_at)}` }),
    ),
    going ? make('span', { class: 'meter' }, make('i', { style: `width:${share}%` })) : null,
  );
  link.dataset.run = run.run_id;
  return make('li', {}, link);
};
const paint = () => {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.run : null;
  list.replaceChildren(...runs.map(row));
  if (focused) list.querySelector(`[data-run="${focused}"]`)?.focus();
  const current = brought_up === chosen ? null : list.querySelector('[aria-current=true]');
  if (current) {
    brought_up = chosen;
    current.scrollIntoView({ block: 'nearest' });
  }
  // Until the first answer nobody knows: what is being opened beside the list is seen meanwhile.
  const none_yet = version !== '' && runs.length === 0;
  empty.hidden = !none_yet;
  document.getElementById('run-columns')?.classList.toggle('none-yet', none_yet);
};
const choose = (run_id) => {
  chosen = run_id;
  document.getElementById('run-columns')?.classList.toggle('one-open', Boolean(parameters().get('run')));
  paint();
};

list.addEventListener('click', (event) => {
  const link = event.target.closest('a');
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  open_run(link.dataset.run);
});
empty.querySelector('button').addEventListener('click', () => open_tab('train'));
window.addEventListener('atelier:run', (event) => {
  choose(event.detail);
  refresh();
});

const refresh = poll({
  element: root,
  failed: (sentence) => {
    root.querySelector('.poll-notice').textContent = sentence;
  },
  read: async () => {
    const news = await get(`/api/runs?since=${version}`);
    if (news) {
      version = news.version;
      runs = news.runs;
      // Beside the list there is room for a run's page: the newest, until one is chosen.
      if (!chosen && runs.length) window.dispatchEvent(new CustomEvent('atelier:run', { detail: runs[0].run_id }));
      paint();
    }
    return runs.some(is_going) ? 2000 : 8000;
  },
});
choose(chosen);
