// Asking the server, and asking it again and again while somebody looks.
{
  const SILENT = 'The studio is not responding.';
  const refusal = (text, status) => {
    let sentence = '';
    try {
      sentence = JSON.parse(text).error;
    } catch {
      /* not ours: a proxy's page, say */
    }
    return Object.assign(new Error(sentence || SILENT), { status });
  };
  // Returns the reply, or throws in a sentence for people; `status` is there if the server has answered.
  const ask = async (path, { seconds = 30, ...options } = {}) => {
    let reply;
    try {
      reply = await fetch(path, { signal: AbortSignal.timeout(seconds * 1000), ...options });
    } catch {
      throw new Error(SILENT);
    }
    if (reply.ok) return reply;
    throw refusal(await reply.text().catch(() => ''), reply.status);
  };
  // null says that nothing has changed
  const get = async (path) => {
    const reply = await ask(path);
    return reply.status === 204 ? null : reply.json();
  };
  const post = (path, message) => ask(path, { method: 'POST', body: message && JSON.stringify(message) });
  // Sends a file, or JSON that is text already, and returns the answer.
  const send = async (path, body, options) => (await ask(path, { method: 'POST', body, ...options })).json();
  // Sends a file, telling `said` how many bytes have gone; fetch tells nothing of them. `begun` gets what can be aborted.
  const send_file = (path, file, { said, begun }) =>
    new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open('POST', path);
      request.upload.onprogress = (event) => said(event.loaded);
      request.onload = () =>
        request.status === 200 ? resolve(request.responseText) : reject(refusal(request.responseText, request.status));
      request.onerror = () => reject(new Error('The connection broke.'));
      request.onabort = () => reject(new Error('Stopped.'));
      begun(request);
      request.send(file);
    }).then(JSON.parse);

  // What keeps an answer waiting: storage or RunPod may say nothing while the studio itself is well.
  const what_is_silent = async () => {
    try {
      const { ready, ...parts } = await (await fetch('/readyz', { signal: AbortSignal.timeout(8000) })).json();
      const silent = Object.keys(parts).filter((name) => parts[name] !== 'ok');
      if (silent.some((name) => name.endsWith('bucket'))) return 'Storage is not responding.';
      return silent.length ? `The ${silent[0]} is not responding.` : 'The studio is slow to respond.';
    } catch {
      return SILENT;
    }
  };

  // Calls a widget's server function. Gradio answers with nothing when the server is away, or never.
  const call = (promise, seconds = 30) =>
    Promise.race([
      promise.then(
        (answer) => answer ?? { error: SILENT },
        () => ({ error: SILENT }),
      ),
      new Promise((resolve) => setTimeout(() => resolve({ error: SILENT }), seconds * 1000)),
    ]);

  // Calls `read` again and again while `element` can be seen; `read` returns the milliseconds to the next time.
  // After a failure `failed` gets the sentence, and the pauses double up to ten seconds; where an answer is long in
  // coming it is told what is silent. `unseen` tells whether to go on while another tab of the browser is in front.
  const LONG_MS = 8000;
  const NOTHING_LOST = 'Trying again shortly; nothing is lost.';
  const poll = ({ element, read, failed, unseen = () => false }) => {
    let timer = null,
      busy = false,
      misses = 0,
      again = false;
    const seen = () => (!document.hidden || unseen()) && element.isConnected && element.offsetParent !== null;
    const run = async () => {
      clearTimeout(timer);
      if (busy) {
        again = true;
        return;
      }
      if (!seen()) {
        timer = setTimeout(run, 700);
        return;
      }
      busy = true;
      let pause,
        waiting = true;
      setTimeout(async () => {
        const sentence = waiting && (await what_is_silent());
        if (!waiting) return;
        misses = Math.max(1, misses);
        failed(`${sentence} ${NOTHING_LOST}`);
      }, LONG_MS);
      try {
        pause = await read();
        if (misses) failed('');
        misses = 0;
      } catch (error) {
        misses += 1;
        const sentence = error.status ? error.message : await what_is_silent();
        failed(error.status === 404 ? sentence : `${sentence} ${NOTHING_LOST}`, error);
        pause = Math.min(10000, 1000 * 2 ** misses);
      }
      busy = waiting = false;
      if (again) {
        again = false;
        pause = 0;
      }
      timer = setTimeout(run, pause);
    };
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) run();
    });
    window.addEventListener('atelier:tab', () => setTimeout(run, 30));
    run();
    return run;
  };

  Object.assign((window.atelier ??= {}), {
    ask,
    get,
    post,
    send,
    send_file,
    call,
    poll,
  });
}
