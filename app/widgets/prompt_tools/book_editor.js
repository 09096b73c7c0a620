// The dialog in which styles and lists are written. `changed` is told the book after each change, `insert` what to put
// into the prompt.
const KINDS = {
  styles: {
    title: 'Styles',
    one: 'style',
    path: '/api/prompt-book/styles',
    about: ['A style wraps your prompt. Your words go where it says ', '{prompt}', '; if it doesn’t, they come first.'],
    detail: (style) => style.prompt,
    fields: (style) => [
      ['name', 'Name', style.name, 40],
      ['prompt', 'Template', style.prompt, 1000, 'For example: a watercolour of {prompt}, soft washes'],
      [
        'negative_prompt',
        'Negative prompt',
        style.negative_prompt,
        1000,
        'Used by base models that take a negative prompt',
      ],
    ],
    message: (filled) => filled,
  },
  lists: {
    title: 'Wildcards',
    one: 'list',
    path: '/api/prompt-book/lists',
    about: [
      'Write ',
      '{red|blue}',
      ' in a prompt to pick one of these, or ',
      '__colour__',
      ' to pick from the list of that name. Each picture gets its own pick, and the same seed always picks the same.',
    ],
    detail: (list) => list.words.join(', '),
    fields: (list) => [
      ['name', 'Name', list.name, 40, 'Lowercase letters, digits and dashes'],
      ['words', 'One per line', list.words.join('\n'), 500000, 'A line can contain wildcards of its own'],
    ],
    message: ({ name, words }) => ({ name: name.trim().toLowerCase().replace(/\s+/g, '-'), words: words.split('\n') }),
    inserted: (list) => `__${list.name}__`,
  },
};
const EMPTY = { name: '', prompt: '', negative_prompt: '', words: [] };

const book_editor = ({ dialog, book, changed, insert }) => {
  const { make, button, closes_beside, confirm } = atelier;
  const send = async (path, message) => {
    const reply = await atelier.post(path, message);
    changed(await reply.json());
  };
  const title = (text) => make('h2', { id: 'book-title', text });
  const about = (kind) =>
    make(
      'p',
      {},
      ...kind.about.map((text, index) => (index % 2 ? make('code', { text }) : document.createTextNode(text))),
    );

  const remove = async (kind, name, entry) => {
    if (
      !(await confirm({
        title: `Delete the ${kind.one} “${entry.name}”?`,
        text: 'Pictures already made with it keep their prompts.',
        yes: 'Delete',
      }))
    )
      return;
    try {
      await send(`${kind.path}/delete`, { name: entry.name });
    } catch (error) {
      atelier.toast(error.message);
    }
    show(name);
  };
  const item = (kind, name) => (entry) =>
    make(
      'li',
      {},
      make(
        'div',
        {},
        make('b', { text: kind.inserted?.(entry) || entry.name }),
        make('small', { text: kind.detail(entry) }),
      ),
      make(
        'div',
        { class: 'doings' },
        kind.inserted
          ? button(
              'Insert',
              () => {
                dialog.close();
                insert(kind.inserted(entry));
              },
              'small',
              { 'aria-label': `Insert ${entry.name}` },
            )
          : null,
        button('Edit', () => edit(name, entry), 'small', { 'aria-label': `Edit ${entry.name}` }),
        button('Delete', () => remove(kind, name, entry), 'small danger-quiet', {
          'aria-label': `Delete ${entry.name}`,
        }),
      ),
    );
  const show = (name) => {
    const kind = KINDS[name],
      entries = book()[name];
    dialog.replaceChildren(
      title(kind.title),
      about(kind),
      make('ul', { class: 'entries', tabindex: 0, 'aria-label': kind.title }, ...entries.map(item(kind, name))),
      make(
        'div',
        { class: 'dialog-buttons' },
        button(`New ${kind.one}`, () => edit(name, EMPTY)),
        button('Close', () => dialog.close(), 'primary'),
      ),
    );
    if (!dialog.open) dialog.showModal();
    dialog.querySelector('.primary').focus();
  };
  const field = ([name, label, value, maxlength, hint]) => {
    const input = make(name === 'name' ? 'input' : 'textarea', {
      class: 'entry',
      name,
      maxlength,
      rows: name === 'words' ? 8 : 3,
      'aria-label': label,
    });
    input.value = value;
    return make('label', {}, make('span', { text: label }), input, hint ? make('small', { text: hint }) : null);
  };
  const edit = (name, entry) => {
    const kind = KINDS[name],
      refused = make('p', { class: 'refused', role: 'alert' });
    const save = async (event) => {
      event.preventDefault();
      const filled = Object.fromEntries(
        [...form.elements].filter((each) => each.name).map((each) => [each.name, each.value]),
      );
      refused.textContent = '';
      try {
        await send(kind.path, { ...kind.message(filled), replaces: entry.name });
        show(name);
      } catch (error) {
        refused.textContent = error.message;
      }
    };
    const form = make(
      'form',
      { onsubmit: save },
      ...kind.fields(entry).map(field),
      refused,
      make(
        'div',
        { class: 'dialog-buttons' },
        button('Back', () => show(name), 'quiet'),
        make('button', { type: 'submit', class: 'button primary', text: 'Save' }),
      ),
    );
    dialog.replaceChildren(title(entry.name ? `Edit “${entry.name}”` : `New ${kind.one}`), form);
    form.querySelector('input').focus();
  };
  closes_beside(dialog);
  dialog.addEventListener('close', () => dialog.replaceChildren());
  return show;
};
