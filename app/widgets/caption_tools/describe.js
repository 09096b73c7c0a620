// Has pictures without a caption described by a vision model, a few at a time; Stop leaves what has come.
const describe_pictures = (root, { model, where, missing }) => {
  const button = root.querySelector('.describe'),
    meter = root.querySelector('.describing .meter'),
    told = root.querySelector('.told');
  const AT_ONCE = 3;
  let round = null; // {dataset_id, names, done, described, problem, stopped}

  const show = (empty) => {
    button.textContent = round
      ? round.stopped
        ? 'Stopping…'
        : 'Stop'
      : `Auto-caption ${atelier.plural(empty, 'picture')}`;
    button.hidden = !round && !empty;
    button.disabled = Boolean(round?.stopped);
    meter.hidden = !round;
    if (!round) return;
    meter.setAttribute('aria-valuemax', round.names.length);
    meter.setAttribute('aria-valuenow', round.done);
    meter.firstElementChild.style.width = `${(100 * round.done) / round.names.length}%`;
    told.ariaLive = 'off'; // the bar tells how far it is; the end of it is read out
    told.textContent = `${round.done.toLocaleString()} of ${round.names.length.toLocaleString()} captioned by ${model}`;
  };
  const describe_one = async (id, picture) => {
    try {
      const reply = await atelier.post(`/api/datasets/${id}/describe`, { picture });
      round.described[picture] = (await reply.json()).caption;
      atelier.tell('described', { dataset_id: id, picture, caption: round.described[picture] });
    } catch (error) {
      // What fails for one fails for all, most of the time: no more is spent.
      round.problem = error.message;
      round.stopped = true;
    }
    round.done += 1;
  };

  const run = async (names, count_empty) => {
    if (missing) {
      told.textContent = missing;
      return;
    }
    const text = `They are sent to ${where}, where ${model} describes them; this may use up credits. Captions you already have stay as they are.`;
    if (
      !(await atelier.confirm({
        title: `Auto-caption ${atelier.plural(names.length, 'picture')}?`,
        text,
        yes: 'Auto-caption',
        no: 'Not now',
        danger: false,
      }))
    )
      return;
    round = { dataset_id: atelier.opened_dataset(), names, done: 0, described: {}, problem: '', stopped: false };
    const waiting = [...names];
    const work = async () => {
      while (waiting.length && !round.stopped) {
        show(0);
        await describe_one(round.dataset_id, waiting.shift());
      }
    };
    show(0);
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const { problem, described } = round;
    round = null;
    told.ariaLive = 'polite';
    told.textContent =
      problem ||
      `${atelier.plural(Object.keys(described).length, 'picture')} captioned by ${model}. Worth a read-through.`;
    show(count_empty());
  };

  return {
    show,
    press: (names, count_empty) => {
      if (round) {
        round.stopped = true;
        show(0);
      } else run(names, count_empty);
    },
    clear: () => {
      if (round) round.stopped = true;
      else told.textContent = '';
    },
  };
};
