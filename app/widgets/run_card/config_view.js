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
    const id = run.run_id,
      reply = await fetch(`/api/runs/${id}/config`, { signal: AbortSignal.timeout(20000) });
    const text = reply.ok ? await reply.text() : (await reply.json()).error;
    if (id !== run?.run_id) return;
    shown = id;
    pre.textContent = text;
    copy.hidden = link.hidden = !reply.ok;
    note.textContent = reply.ok ? 'For a GPU with 24 GB. On others only the settings that save memory differ.' : '';
  };
  const read_or_say = () =>
    read().catch(() => {
      pre.textContent = 'The studio is not responding. Close this and open it again.';
    });
  details.addEventListener('toggle', read_or_say);
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
