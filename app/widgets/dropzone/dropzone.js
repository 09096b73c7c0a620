const { make, bytes, get, post, send_file, tell, plural } = atelier;
const root = element.querySelector('.dropzone'),
  note = root.querySelector('.note'),
  refused_list = root.querySelector('.refused');
const sending = root.querySelector('.sending'),
  meter = root.querySelector('.meter'),
  again = root.querySelector('.again'),
  dismiss = root.querySelector('.dismiss');
const AT_ONCE = 4,
  ATTEMPTS = 6,
  LOOK_EVERY_MS = 2500;
let round = null; // what is being sent: {dataset_id, bytes, sent, added, merged, captions, refused, lost, stopped, requests}

const reason_against = ({ path, file }) => {
  const suffix = suffix_of(path),
    most = suffix === '.zip' ? props.value.max_archive_bytes : props.value.max_bytes;
  if (!props.value.suffixes.includes(suffix)) return 'it isn’t a picture, a caption file or a ZIP';
  return file.size > most ? `it is ${bytes(file.size)}; the most is ${bytes(most)}` : '';
};

// ---------------------------------------------------------------- what is shown

const list_refused = () =>
  refused_list.replaceChildren(
    ...round.refused.map((file) =>
      make(
        'li',
        {},
        make('b', { text: file.name }),
        // Some reasons begin with the name already.
        document.createTextNode(
          file.reason.startsWith(file.name) ? file.reason.slice(file.name.length) : `: ${file.reason}`,
        ),
      ),
    ),
  );
const progress = () => {
  const share = round.bytes ? Math.min(100, (100 * round.sent) / round.bytes) : 0;
  meter.firstElementChild.style.width = `${share}%`;
  meter.setAttribute('aria-valuenow', Math.round(share));
};
// The bar tells how far it is; the end of it is read out.
const count = () => {
  note.ariaLive = 'off';
  note.textContent = `${round.done.toLocaleString()} of ${plural(round.files, 'file')} sent`;
};
const outcome = () => {
  const parts = [`${plural(round.added, 'picture')} added`];
  if (round.merged) parts.push(`${round.merged} already there`);
  if (round.captions) parts.push(plural(round.captions, 'caption'));
  if (round.refused.length) parts.push(`${round.refused.length} not taken`);
  return `${round.stopped ? 'Stopped: ' : ''}${parts.join(', ')}.`;
};
const busy = (button = null) => {
  root.classList.toggle('busy', Boolean(button));
  for (const each of root.querySelectorAll('.zone-buttons .button')) each.classList.toggle('busy', each === button);
};
const shape = () => {
  const compact = Boolean(atelier.opened_dataset());
  root.classList.toggle('compact', compact);
  root.querySelector('h2').textContent = compact
    ? 'Drop more pictures, captions or ZIPs here'
    : 'Drop pictures of one thing, person or style';
  root.querySelector('.pick').textContent = compact ? 'Add files' : 'Choose files';
  if (compact) atelier.say('train', '');
};
const clear = () => {
  if (round?.running) return;
  round = null;
  note.textContent = '';
  refused_list.replaceChildren();
  again.hidden = dismiss.hidden = true;
};

// ---------------------------------------------------------------- sending

// Only a page on https or this computer may hash; without, the server finds what it has already.
const hash = async (file) =>
  crypto.subtle
    ? [...new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()))]
        .map((byte) => byte.toString(16).padStart(2, '0'))
        .join('')
    : '';

// Tries for half a minute, as a studio that starts anew is back by then; what was refused is not tried again.
const is_final = (status) => status >= 400 && status < 500 && status !== 408 && status !== 429;
const patiently = async (work) => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (is_final(error.status) || attempt === ATTEMPTS || round.stopped) throw error;
      if (!round.done) note.textContent = `${error.message} It is tried again…`;
      await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt * (0.75 + Math.random() / 2)));
    }
  }
};

const send = (item) => {
  let before = 0;
  const said = (loaded) => {
    round.sent += Math.min(loaded, item.file.size) - before;
    before = Math.min(loaded, item.file.size);
    progress();
  };
  return patiently(async () => {
    said(0);
    const address = `/api/datasets/${round.dataset_id}/files?name=${encodeURIComponent(item.path)}`;
    const begun = (request) => {
      round.requests.add(request);
      request.onloadend = () => round.requests.delete(request);
    };
    const answer = await send_file(address, item.file, { said, begun });
    said(item.file.size);
    return answer;
  });
};

const take = async (item, known) => {
  const suffix = suffix_of(item.path),
    is_picture = suffix !== '.zip' && !props.value.captions.includes(suffix);
  try {
    const sha256 = is_picture && (await hash(item.file));
    if (sha256 && known.has(sha256)) {
      round.merged += 1;
      round.sent += item.file.size;
    } else {
      known.add(sha256);
      const answer = await send(item);
      round.added += answer.added;
      round.merged += answer.merged;
      round.captions += answer.captions;
      round.refused.push(...answer.refused);
      if (answer.refused.length) list_refused();
    }
  } catch (error) {
    round.refused.push({ name: item.path, reason: error.message });
    if (!is_final(error.status)) round.lost.push(item);
    list_refused();
  }
  round.done += 1;
  progress();
  count();
};

const send_all = async (everything) => {
  if (round?.running) {
    atelier.toast('Wait for these files to finish, or stop them.');
    return;
  }
  const files = everything.filter((item) => !is_litter(item.path));
  if (!files.length) return;
  const refused = files
    .map((item) => ({ name: item.path, reason: reason_against(item), item }))
    .filter((each) => each.reason);
  const items = in_order(
    files.filter((item) => !refused.some((each) => each.item === item)),
    props.value.captions,
  );
  round = {
    dataset_id: atelier.opened_dataset(),
    files: items.length,
    done: 0,
    sent: 0,
    added: 0,
    merged: 0,
    captions: 0,
    refused,
    lost: [],
    stopped: false,
    requests: new Set(),
    bytes: items.reduce((sum, item) => sum + item.file.size, 0),
    running: true,
  };
  again.hidden = dismiss.hidden = true;
  list_refused();
  const made = !round.dataset_id && items.length > 0;
  let look;
  try {
    if (items.length) {
      busy(root.querySelector('.pick'));
      sending.hidden = false;
      progress();
      count();
      if (made) {
        round.dataset_id = (
          await (await patiently(() => post('/api/datasets', { name: name_for(items) }))).json()
        ).dataset_id;
      }
      const known = new Set(
        (await patiently(() => get(`/api/datasets/${round.dataset_id}`))).pictures.map((picture) => picture.sha256),
      );
      let seen = 0;
      look = setInterval(() => {
        if (round.added === seen) return;
        if (made && !seen) tell('dataset-made', round.dataset_id);
        else tell('dataset-changed', round.dataset_id);
        seen = round.added;
      }, LOOK_EVERY_MS);
      const waiting = [...items];
      const work = async () => {
        while (waiting.length && !round.stopped) await take(waiting.shift(), known);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
    }
  } catch (error) {
    round.refused.push({ name: 'Nothing was sent', reason: error.message });
    round.lost = items;
    list_refused();
  }
  clearInterval(look);
  round.running = false;
  busy();
  sending.hidden = true;
  again.hidden = !round.lost.length;
  dismiss.hidden = false;
  note.ariaLive = 'polite';
  note.textContent = outcome();
  if (made && round.dataset_id && !round.added && !round.captions)
    await post(`/api/datasets/${round.dataset_id}/delete`).catch(() => null);
  else if (made && atelier.opened_dataset() !== round.dataset_id && round.dataset_id)
    tell('dataset-made', round.dataset_id);
  else if (items.length) tell('dataset-changed', round.dataset_id);
};

// ---------------------------------------------------------------- the person

const picker = (attributes) => {
  const input = make('input', {
    type: 'file',
    multiple: true,
    hidden: true,
    tabindex: '-1',
    'aria-hidden': 'true',
    ...attributes,
  });
  input.addEventListener('change', () => {
    send_all(picked(input));
    input.value = '';
  });
  element.append(input);
  return input;
};
const files = picker({ class: 'files' }),
  folder = picker({ class: 'whole-folder', webkitdirectory: true });
root.querySelector('.pick').addEventListener('click', () => files.click());
root.querySelector('.folder').addEventListener('click', () => folder.click());
root.querySelector('.stop').addEventListener('click', () => {
  round.stopped = true;
  for (const request of round.requests) request.abort();
});
again.addEventListener('click', () => send_all(round.lost));
dismiss.addEventListener('click', () => {
  clear();
  root.querySelector('.pick').focus();
});
root.querySelector('.sample').addEventListener('click', (event) => {
  busy(event.target);
  note.textContent = 'Adding the sample pictures…';
  trigger('sample', {});
});
for (const kind of ['dragenter', 'dragover'])
  root.addEventListener(kind, (event) => {
    event.preventDefault();
    root.classList.add('over');
  });
root.addEventListener('dragleave', (event) => {
  if (!root.contains(event.relatedTarget)) root.classList.remove('over');
});
root.addEventListener('drop', async (event) => {
  event.preventDefault();
  root.classList.remove('over');
  send_all(await dropped(event.dataTransfer));
});
// A file dropped beside the zone would replace the page.
for (const kind of ['dragover', 'drop'])
  window.addEventListener(kind, (event) => {
    if (!event.defaultPrevented) event.preventDefault();
  });
atelier.hold_page(() => Boolean(round?.running));
window.addEventListener('atelier:add-files', () => files.click());
window.addEventListener('atelier:dataset', (event) => {
  if (!round?.running) busy(); // the sample pictures have come
  if (round?.dataset_id !== event.detail) clear();
  shape();
});
watch('value', () => {
  busy();
  note.textContent = props.value?.note || '';
});
shape();
