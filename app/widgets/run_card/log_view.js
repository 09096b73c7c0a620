// The tail of a run's log, read while it is open, with a search that leaves only the lines that match.
const log_view = (details) => {
  const pre = details.querySelector('pre'),
    search = details.querySelector('input'),
    found = details.querySelector('output');
  const link = details.querySelector('a');
  let run = null,
    text = '';

  const show = () => {
    const wanted = search.value.trim().toLowerCase(),
      lines = text.split('\n');
    const kept = wanted ? lines.filter((line) => line.toLowerCase().includes(wanted)) : lines;
    const shown =
      kept.join('\n') ||
      (wanted
        ? 'No line has that in it.'
        : run && !['queued', 'running', 'cancelling'].includes(run.status)
          ? 'It left no log.'
          : 'Nothing has been said yet.');
    const at_end = pre.scrollTop + pre.clientHeight > pre.scrollHeight - 24;
    if (pre.textContent !== shown) pre.textContent = shown;
    if (at_end) pre.scrollTop = pre.scrollHeight;
    found.textContent = wanted ? `${kept.length.toLocaleString()} of ${lines.length.toLocaleString()} lines` : '';
  };
  const read = async () => {
    if (!details.open || !run) return;
    const id = run.run_id,
      log = await (await atelier.ask(`/api/runs/${id}/log`)).text();
    if (id !== run?.run_id) return;
    text = log.trimEnd();
    show();
  };
  search.addEventListener('input', show);
  details.addEventListener('toggle', () => read().catch(() => {}));

  return {
    clear: () => {
      run = null;
      text = '';
      search.value = '';
      details.open = false;
      show();
    },
    follow: async (opened) => {
      run = opened;
      link.href = `/api/runs/${run.run_id}/log`;
      link.download = `${run.name}-log.txt`;
      await read();
    },
  };
};
