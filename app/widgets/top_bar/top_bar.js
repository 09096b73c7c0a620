const { poll, get, open_run, toggle_theme } = atelier;
const pill = element.querySelector('.activity');
let version = '', going = [];

element.querySelector('.theme-toggle').addEventListener('click', toggle_theme);
pill.addEventListener('click', () => open_run(going[0].run_id));

poll({
  element: element.querySelector('.top-bar'),
  failed: () => {},
  read: async () => {
    const list = await get(`/api/runs?since=${version}`);
    if (list) {
      version = list.version;
      going = list.runs.filter(run => ['queued', 'running', 'cancelling'].includes(run.status));
      pill.hidden = !going.length;
      if (going.length) {
        const [first] = going, alone = going.length === 1;
        pill.querySelector('span').textContent = alone ? first.name : `${going.length} trainings`;
        pill.querySelector('b').textContent = alone && first.steps ? `${Math.floor(100 * first.step / first.steps)} %` : '';
      }
    }
    return going.length ? 4000 : 15000;
  },
});
watch('value', () => { if (props.value?.run_id) open_run(props.value.run_id); });
