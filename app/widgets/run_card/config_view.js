// What ai-toolkit is told for a run, read once it is opened.
const config_view = (details) => {
  const pre = details.querySelector('pre'),
    note = details.querySelector('output'),
    copy = details.querySelector('.copy'),
    link = details.querySelector('a');
  let run = null,
    shown = '';

  const read = async () => {
    if (!details.open || !run || shown === run.run_id) return;
    const id = run.run_id;
    let text = '',
      refused = '';
    try {
      text = await (await atelier.ask(`/api/runs/${id}/config`)).text();
    } catch (error) {
      refused = error.message;
    }
    if (id !== run?.run_id) return;
    shown = refused ? '' : id;
    pre.textContent = refused || text;
    copy.hidden = link.hidden = Boolean(refused);
    note.textContent = refused ? '' : 'For a GPU with 24 GB. On others only the settings that save memory differ.';
  };
  details.addEventListener('toggle', read);
  copy.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      atelier.toast('Config copied');
    } catch {
      atelier.toast('The browser did not allow copying.');
    }
  });

  return {
    clear: () => {
      run = null;
      shown = '';
      details.open = false;
      pre.textContent = '';
    },
    follow: (opened) => {
      run = opened;
      details.hidden = !run.has_config;
      link.href = `/api/runs/${run.run_id}/config`;
      link.download = `${run.name}.yaml`;
    },
  };
};
