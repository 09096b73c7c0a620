const { make, closes_beside, get, post, tell } = atelier;
const dialog = element.querySelector('.lora-publish');
const MOST = 12,
  FIRST = 4,
  LOOK_EVERY_MS = 1500,
  TYPED_MS = 500;
let lora = null,
  offered = [],
  chosen = [],
  typing = null,
  asked = 0,
  looking = null;

const $ = (selector) => dialog.querySelector(selector);
const wish = () => ({ repo_name: $('input').value.trim(), pictures: chosen.map((each) => each.wish) });
const problem = (sentence) => {
  $('.problem').textContent = sentence;
};

// ---------------------------------------------------------------- what would go

const preview = async () => {
  const mine = ++asked;
  $('.go').disabled = true;
  try {
    const shown = await (await post(`/api/loras/${lora.lora_id}/preview`, wish())).json();
    if (mine !== asked || !dialog.open) return;
    if (!$('input').value && document.activeElement !== $('input')) $('input').value = shown.repo.split('/').at(-1);
    $('.where').textContent = `${shown.repo}: ${shown.files.join(', ')}`;
    $('pre').textContent = shown.card;
    $('.go').disabled = false;
    problem('');
  } catch (error) {
    if (mine === asked && dialog.open) problem(error.message);
  }
};
const toggle = (each, node) => {
  chosen = chosen.includes(each)
    ? chosen.filter((other) => other !== each)
    : chosen.length < MOST
      ? [...chosen, each]
      : chosen;
  node.setAttribute('aria-pressed', chosen.includes(each));
  preview();
};
const choice = (each, index) => {
  const node = make(
    'button',
    {
      type: 'button',
      'aria-pressed': String(chosen.includes(each)),
      'aria-label': each.words || `Picture ${index + 1}`,
      onclick: () => toggle(each, node),
    },
    make('img', { src: each.url, alt: '', loading: 'lazy', width: 100, height: 100 }),
  );
  return node;
};

// ---------------------------------------------------------------- sending it

const publish = async () => {
  $('.go').disabled = true;
  try {
    await post(`/api/loras/${lora.lora_id}/publish`, wish());
    follow();
  } catch (error) {
    problem(error.message);
    $('.go').disabled = false;
  }
};
const follow = async () => {
  const news = await get(`/api/loras/${lora.lora_id}/publish`).catch(() => null);
  if (!dialog.open) return;
  if (!news || news.state === 'going') {
    if (news) busy(news.message);
    looking = setTimeout(follow, LOOK_EVERY_MS);
    return;
  }
  if (news.state === 'done') {
    tell('published', lora.lora_id);
    done(news.address);
    return;
  }
  paint();
  problem(news.message || 'The studio was restarted in the meantime. Publish it again.');
};
const frame = (...parts) =>
  dialog.replaceChildren(make('h2', { id: 'lora-publish-title', text: `Publish “${lora.name}”` }), ...parts);
const close_button = (label = 'Close') =>
  make('button', { type: 'button', class: 'button', text: label, onclick: () => dialog.close() });
const busy = (sentence) =>
  frame(
    make('p', { role: 'status' }, make('span', { class: 'button busy', text: sentence })),
    make('p', { text: 'This may take a few minutes. You can close this; it carries on.' }),
    make('div', { class: 'dialog-buttons' }, close_button()),
  );
const done = (url) =>
  frame(
    make('p', {
      role: 'status',
      text: 'It is on Hugging Face, in a private repository. Once you’re happy with it, make it public in the settings there.',
    }),
    make(
      'div',
      { class: 'dialog-buttons' },
      close_button(),
      make('a', {
        class: 'button primary',
        href: url,
        target: '_blank',
        rel: 'noopener',
        text: 'Open on Hugging Face',
      }),
    ),
  );

// ---------------------------------------------------------------- painting

const paint = () => {
  const name = make('input', {
    class: 'entry',
    value: lora.published ? lora.published.split('/').at(-1) : '',
    maxlength: 96,
    autocomplete: 'off',
    spellcheck: 'false',
    oninput: () => {
      clearTimeout(typing);
      typing = setTimeout(preview, TYPED_MS);
    },
  });
  frame(
    make('p', {
      text: 'The file, a model card and the pictures you choose go into a private repository in your account. Your note and tags stay here.',
    }),
    make('label', { class: 'name' }, document.createTextNode('Repository name'), name),
    ...(offered.length
      ? [
          make('h3', { text: 'Pictures on the card' }),
          make(
            'div',
            { class: 'pictures', role: 'group', 'aria-label': 'Pictures on the card' },
            ...offered.map(choice),
          ),
        ]
      : []),
    make('h3', { text: 'What will be published' }),
    make('p', { class: 'where', text: 'Checking your Hugging Face account…' }),
    make('pre', { tabindex: 0, 'aria-label': 'The model card' }),
    make('p', { class: 'problem', role: 'alert' }),
    make(
      'div',
      { class: 'dialog-buttons' },
      close_button('Not now'),
      make('button', {
        type: 'button',
        class: 'button primary go',
        text: 'Publish privately',
        disabled: true,
        onclick: publish,
      }),
    ),
  );
  preview();
};
const open = async (detail) => {
  ({ lora } = detail);
  const newest = Math.max(0, ...detail.samples.map((sample) => sample.step));
  offered = [
    ...detail.pictures.map((each) => ({ wish: { image_id: each.image_id }, url: each.thumb, words: '' })),
    ...detail.samples
      .filter((sample) => sample.step === newest)
      .map((each) => ({ wish: { sample_key: each.key }, url: each.url, words: `Step ${each.step}: ${each.prompt}` })),
  ];
  chosen = offered.slice(0, FIRST);
  const news = await get(`/api/loras/${lora.lora_id}/publish`).catch(() => null);
  dialog.replaceChildren();
  dialog.showModal();
  if (news?.state === 'going') {
    busy(news.message);
    follow();
  } else paint();
};
closes_beside(dialog);
dialog.addEventListener('close', () => {
  clearTimeout(looking);
  dialog.replaceChildren();
});
window.addEventListener('atelier:publish', (event) => open(event.detail));
