// What the widgets share: making elements, saying times, asking the server, moving between tabs. It is put into the
// page's head and leaves one name behind, `atelier`. Text from people only ever becomes textContent.
window.atelier = (() => {
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (name === 'text') node.textContent = value;
      else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? '' : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  // ---------------------------------------------------------------- words

  const duration = (seconds) => {
    if (seconds === null || seconds === undefined) return '–';
    if (seconds < 0.05) return '< 0.1 s';
    if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
    if (seconds < 99.5) return `${Math.round(seconds)} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  };
  const ago = (at) => {
    const seconds = Math.max(0, Date.now() / 1000 - at);
    if (seconds < 45) return 'just now';
    if (seconds < 3600) return `${Math.round(seconds / 60) || 1} min ago`;
    if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
    return new Date(at * 1000).toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
  };
  const bytes = (count) =>
    count < 2 ** 20 ? `${Math.max(1, Math.round(count / 1024))} KB` : `${(count / 2 ** 20).toFixed(1)} MB`;
  const rate = (value) => (value === null || value === undefined ? '–' : value.toExponential(1).replace('.0e', 'e'));
  const STATUS = {
    queued: 'Queued',
    running: 'Running',
    cancelling: 'Stopping…',
    done: 'Done',
    failed: 'Failed',
    cancelled: 'Cancelled',
    lost: 'Lost',
  };
  const capital = (text) => (text ? text[0].toUpperCase() + text.slice(1) : '');

  // ---------------------------------------------------------------- the server

  const SILENT = 'The studio does not answer.';
  const ask_server = async (path, options = {}) => {
    let reply;
    try {
      reply = await fetch(path, { signal: AbortSignal.timeout(30000), ...options });
    } catch {
      throw new Error(SILENT);
    }
    if (reply.ok) return reply;
    let sentence = '';
    try {
      sentence = (await reply.json()).error;
    } catch {
      /* not ours: a proxy's page, say */
    }
    throw Object.assign(new Error(sentence || SILENT), { status: reply.status });
  };
  // null says that nothing has changed
  const get = async (path) => {
    const reply = await ask_server(path);
    return reply.status === 204 ? null : reply.json();
  };
  const post = (path, message) => ask_server(path, { method: 'POST', body: message && JSON.stringify(message) });
  // Sends JSON that is text already, and returns the answer.
  const send = async (path, body) => (await ask_server(path, { method: 'POST', body })).json();

  // Calls a widget's server function. Gradio answers with nothing when the server is away, or never.
  const call = (promise, seconds = 20) =>
    Promise.race([
      promise.then(
        (answer) => answer ?? { error: SILENT },
        () => ({ error: SILENT }),
      ),
      new Promise((resolve) => setTimeout(() => resolve({ error: SILENT }), seconds * 1000)),
    ]);

  // Calls `read` again and again while `element` can be seen; `read` returns the milliseconds to the next time.
  // After a failure `failed` gets the sentence, and the pauses double up to ten seconds. `unseen` tells whether to go
  // on while another tab of the browser is in front.
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
      let pause;
      try {
        pause = await read();
        if (misses) failed('');
        misses = 0;
      } catch (error) {
        misses += 1;
        failed(
          error.status === 404 ? error.message : `${error.message} It is asked again shortly; nothing is lost.`,
          error,
        );
        pause = Math.min(10000, 1000 * 2 ** misses);
      }
      busy = false;
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

  // ---------------------------------------------------------------- dialogs and messages

  // Resolves to whether the person agreed. Escape and a click beside it mean no.
  const confirm = ({ title, text, yes, no = 'Keep it', danger = true }) =>
    new Promise((resolve) => {
      const close = (answer) => {
        dialog.close();
        dialog.remove();
        resolve(answer);
      };
      const dialog = make(
        'dialog',
        { class: 'atelier-dialog', 'aria-labelledby': 'atelier-dialog-title' },
        make('h2', { id: 'atelier-dialog-title', text: title }),
        make('p', { text }),
        make(
          'div',
          { class: 'dialog-buttons' },
          make('button', { type: 'button', class: 'button', text: no, onclick: () => close(false) }),
          make('button', {
            type: 'button',
            class: `button ${danger ? 'danger' : 'primary'}`,
            text: yes,
            onclick: () => close(true),
          }),
        ),
      );
      dialog.addEventListener('cancel', (event) => {
        event.preventDefault();
        close(false);
      });
      dialog.addEventListener('click', (event) => {
        if (event.target === dialog) close(false);
      });
      document.querySelector('.gradio-container').append(dialog);
      dialog.showModal();
    });

  // A menu closes when something else is pressed, and on Escape.
  const closing = (menu) => {
    document.addEventListener('click', (event) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
    menu.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') {
        menu.open = false;
        menu.querySelector('summary').focus();
      }
    });
    return menu;
  };

  let toast_timer;
  const toast = (text) => {
    let box = document.querySelector('.atelier-toast');
    if (!box) {
      box = make('div', { class: 'atelier-toast', role: 'status', popover: 'manual' });
      document.querySelector('.gradio-container').append(box);
    }
    // As a popover, opened last, it is seen above a dialog, too.
    box.hidePopover?.();
    box.showPopover?.();
    box.textContent = text;
    box.classList.add('shown');
    clearTimeout(toast_timer);
    toast_timer = setTimeout(() => box.classList.remove('shown'), 3200);
  };
  const say = (id, sentence) => window.dispatchEvent(new CustomEvent('atelier:message', { detail: { id, sentence } }));

  // An address of storage opens its picture for two hours: a page that is open for longer has to ask for new ones.
  document.addEventListener(
    'error',
    (event) => {
      const { tagName, src = '' } = event.target;
      if (tagName === 'IMG' && src.includes('X-Amz-Expires=') && performance.now() > 3600e3)
        toast('This page has been open for long. Reload it to see more pictures.');
    },
    true,
  );

  // ---------------------------------------------------------------- told while somebody looks elsewhere

  // Browsers ask only in answer to a press.
  const ask_to_notify = () => {
    if (window.Notification?.permission === 'default') Notification.requestPermission();
  };
  const notify = (sentence, opened) => {
    if (!document.hidden || window.Notification?.permission !== 'granted') return;
    const note = new Notification('LoRA Atelier', { body: sentence, tag: sentence });
    note.onclick = () => {
      window.focus();
      note.close();
      opened();
    };
  };
  const NAME = 'LoRA Atelier';
  const title = (text = '') => {
    document.title = text ? `${text} · ${NAME}` : NAME;
  };

  // ---------------------------------------------------------------- where we are

  const TABS = ['train', 'runs', 'loras', 'generate', 'gallery'];
  const parameters = () => new URLSearchParams(location.search);
  const address = (changes, replace = false) => {
    const query = parameters();
    for (const [name, value] of Object.entries(changes)) value ? query.set(name, value) : query.delete(name);
    const target = `${location.pathname}?${query}`;
    if (target === location.pathname + location.search) return;
    history[replace ? 'replaceState' : 'pushState']({}, '', target);
  };
  const current_tab = () =>
    TABS.find((tab) => document.getElementById(`tab-${tab}-button`)?.getAttribute('aria-selected') === 'true');
  const open_tab = (tab) => {
    if (current_tab() !== tab) document.getElementById(`tab-${tab}-button`)?.click();
  };
  const at_tab = (tab) => {
    address({
      tab,
      run: tab === 'runs' ? parameters().get('run') : '',
      lora: tab === 'loras' ? parameters().get('lora') : '',
      grid: tab === 'generate' ? parameters().get('grid') : '',
    });
    window.dispatchEvent(new CustomEvent('atelier:tab', { detail: tab }));
    if (tab === 'generate')
      setTimeout(() => document.querySelector('#prompt textarea')?.focus({ preventScroll: true }), 60);
    window.scrollTo({ top: 0 });
  };
  const open_run = (run_id) => {
    address({ tab: 'runs', run: run_id });
    window.dispatchEvent(new CustomEvent('atelier:run', { detail: run_id }));
    open_tab('runs');
  };
  // The same as the link `?grid=new&checkpoints=<run>`: a grid of a training's checkpoints, ready to be drawn.
  const compare_checkpoints = (run_id) => {
    address({ tab: 'generate', run: '', lora: '', grid: 'new', checkpoints: run_id });
    if (current_tab() === 'generate') tell('grid', 'new');
    else open_tab('generate');
  };
  // A tab's widgets come with its first opening and read the address; those that are there already are told.
  const open_lora = (lora_id) => {
    address({ tab: 'loras', lora: lora_id });
    open_tab('loras');
    tell('lora', { lora_id });
  };
  const find_pictures = (wanted) => {
    address({ tab: 'gallery', q: '', with: '', base: '', shape: '', when: '', liked: '', ...wanted });
    tell('find');
    open_tab('gallery');
  };
  // However a tab came to be chosen, the address follows; at first the tab follows the address.
  let at;
  const follow_tabs = () => {
    const bar = document.querySelector('#nav [role=tablist]');
    if (!bar || !document.getElementById('tab-gallery-button')) {
      requestAnimationFrame(follow_tabs);
      return;
    }
    at = current_tab();
    const wanted =
      parameters().get('tab') || (parameters().get('run') ? 'runs' : parameters().get('grid') ? 'generate' : '');
    if (TABS.includes(wanted)) open_tab(wanted);
    new MutationObserver(() => {
      const now = current_tab();
      if (now && now !== at) {
        at = now;
        at_tab(now);
      }
    }).observe(bar, { attributes: true, attributeFilter: ['aria-selected'], subtree: true });
  };
  follow_tabs();
  window.addEventListener('popstate', () => {
    const tab = parameters().get('tab');
    if (TABS.includes(tab)) open_tab(tab);
    window.dispatchEvent(new CustomEvent('atelier:run', { detail: parameters().get('run') || '' }));
  });

  // ---------------------------------------------------------------- the dataset on the Train tab

  // Its widgets come to the page in any order: who comes late asks, the others hear 'atelier:dataset'.
  let dataset_id = '';
  const opened_dataset = () => dataset_id;
  const tell = (event, detail) => window.dispatchEvent(new CustomEvent(`atelier:${event}`, { detail }));
  const open_dataset = (id) => {
    dataset_id = id;
    tell('dataset', id);
  };

  // ---------------------------------------------------------------- light and dark

  // Gradio follows the system by itself; what a person chose here goes before that, now and next time.
  const chosen = () => {
    try {
      return localStorage.getItem('atelier-theme');
    } catch {
      return null;
    }
  };
  const apply = () => {
    const want = chosen();
    if (want && document.body && document.body.classList.contains('dark') !== (want === 'dark')) {
      document.body.classList.toggle('dark', want === 'dark');
    }
  };
  const toggle_theme = () => {
    const next = document.body.classList.contains('dark') ? 'light' : 'dark';
    try {
      localStorage.setItem('atelier-theme', next);
    } catch {
      /* a private window may refuse */
    }
    document.body.classList.toggle('dark', next === 'dark');
  };
  const watch_theme = () => {
    apply();
    new MutationObserver(apply).observe(document.body, { attributes: true, attributeFilter: ['class'] });
  };
  document.body ? watch_theme() : document.addEventListener('DOMContentLoaded', watch_theme);

  // ---------------------------------------------------------------- keys

  // Presses of Generate from before the feed is there, which it takes up when it comes.
  const early_presses = [];
  const generate = (wishes) => early_presses.push(wishes);
  document.addEventListener('keydown', (event) => {
    if ((event.metaKey || event.ctrlKey) && event.key === 'Enter' && current_tab() === 'generate') {
      event.preventDefault();
      document.querySelector(document.body.dataset.mode === 'compare' ? '#draw-grid' : '#generate')?.click();
    }
  });

  // Writes into one of Gradio's text boxes as typing would.
  const type_into = (selector, text) => {
    const box = document.querySelector(selector);
    box.value = text;
    box.dispatchEvent(new Event('input', { bubbles: true }));
    box.focus();
  };

  return {
    make,
    duration,
    ago,
    bytes,
    rate,
    capital,
    STATUS,
    get,
    post,
    send,
    call,
    poll,
    confirm,
    closing,
    toast,
    say,
    ask_to_notify,
    notify,
    title,
    opened_dataset,
    open_dataset,
    tell,
    parameters,
    address,
    open_tab,
    open_run,
    open_lora,
    find_pictures,
    compare_checkpoints,
    current_tab,
    toggle_theme,
    type_into,
    generate,
    early_presses,
  };
})();
