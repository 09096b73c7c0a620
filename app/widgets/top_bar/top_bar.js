const { poll, get, open_run, toggle_theme, STATUS, is_going, toast, notify, title } = atelier;
const pill = element.querySelector('.activity');
let version = '',
  going = [],
  before = new Map(),
  ended = '';

element.querySelector('.theme-toggle').addEventListener('click', toggle_theme);
element.querySelector('.account-open').addEventListener('click', () => atelier.tell('account'));
pill.addEventListener('click', () => open_run(going[0].run_id));

const share = (run) => (run.steps ? `${Math.floor((100 * run.step) / run.steps)}%` : '');
// The title says how it goes, and what ended while somebody was elsewhere until they come back.
const head = () => title(ended || (going.length ? `${share(going[0])} ${going[0].name}`.trim() : ''));
const tell = (run) => {
  const sentence = `${run.name}: ${STATUS[run.status].toLowerCase()}`;
  toast(sentence);
  notify(sentence, () => open_run(run.run_id));
  if (document.hidden) ended = `${run.status === 'done' ? '✓' : '✕'} ${run.name}`;
};
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) {
    ended = '';
    head();
  }
});

poll({
  element: element.querySelector('.top-bar'),
  unseen: () => going.length > 0,
  failed: () => {},
  read: async () => {
    const list = await get(`/api/runs?since=${version}`);
    if (list) {
      version = list.version;
      going = list.runs.filter(is_going);
      list.runs.filter((run) => is_going({ status: before.get(run.run_id) }) && !is_going(run)).forEach(tell);
      before = new Map(list.runs.map((run) => [run.run_id, run.status]));
      pill.hidden = !going.length;
      if (going.length) {
        const [first] = going,
          alone = going.length === 1;
        pill.classList.toggle('several', !alone);
        pill.querySelector('span').textContent = alone ? first.name : 'trainings';
        pill.querySelector('b').textContent = alone ? share(first) : going.length;
        pill.setAttribute('aria-label', alone ? `${first.name} ${share(first)}` : `${going.length} trainings`);
      }
      head();
    }
    return going.length ? 4000 : 15000;
  },
});
watch('value', () => {
  if (props.value?.run_id) open_run(props.value.run_id);
});
