// Captions on their way to storage, one request at a time, so that an older one can't arrive after a newer one. What fails
// is sent again, and the page is held until all is stored. `say` shows a sentence and whether it is a warning.
const caption_saving = (say, done) => {
  const AFTER_TYPING_MS = 500,
    AGAIN_MS = 4000;
  const waiting = new Map(); // typed and not known to be stored yet: dataset id → content hash → caption
  let timer = null,
    sending = null;

  const send = async () => {
    clearTimeout(timer);
    if (sending || !waiting.size) return;
    const [[id, changed]] = waiting;
    waiting.delete(id);
    try {
      sending = atelier.post(`/api/datasets/${id}/captions`, { captions: changed });
      await sending;
      sending = null;
      if (waiting.size) {
        send();
        return;
      }
      say('All changes saved');
      done(id);
    } catch (error) {
      sending = null;
      // A dataset or picture that is gone can't be saved to, however often.
      if (error.status === 404) {
        say(`Not saved. ${error.message}`, true);
        return;
      }
      waiting.set(id, { ...changed, ...waiting.get(id) });
      say(`Not saved yet. ${error.message}`, true);
      timer = setTimeout(send, AGAIN_MS);
    }
  };
  const save = (id, changed, pause) => {
    waiting.set(id, { ...waiting.get(id), ...changed });
    say('Saving…');
    clearTimeout(timer);
    timer = setTimeout(send, pause);
  };
  atelier.hold_page(() => {
    send();
    return Boolean(waiting.size || sending);
  });

  return {
    send,
    soon: (id, changed) => save(id, changed, AFTER_TYPING_MS),
    now: (id, changed) => save(id, changed, 0),
    unsaved: (id) => waiting.get(id) ?? {},
  };
};
