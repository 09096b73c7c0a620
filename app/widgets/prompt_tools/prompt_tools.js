const { make, closing, get, toast, type_into } = atelier;
const root = element.querySelector('.prompt-tools'),
  styles = root.querySelector('.styles');
const menu = closing(root.querySelector('.earlier')),
  choices = menu.querySelector('.choices');
let book = { styles: [], lists: [] };

// ---------------------------------------------------------------- styles to choose

const chosen = () => props.value?.styles || [];
const toggle = (name) => {
  props.value = {
    ...props.value,
    styles: chosen().includes(name) ? chosen().filter((each) => each !== name) : [...chosen(), name],
  };
  paint();
};
const paint = () => {
  const names = book.styles.map((style) => style.name),
    focused = styles.contains(document.activeElement) && document.activeElement.textContent;
  styles.replaceChildren(
    ...book.styles.map((style) =>
      make('button', {
        type: 'button',
        class: 'style',
        'aria-pressed': String(chosen().includes(style.name)),
        title: style.prompt,
        text: style.name,
        onclick: () => toggle(style.name),
      }),
    ),
  );
  if (focused) [...styles.children].find((each) => each.textContent === focused)?.focus({ preventScroll: true });
  // One that was renamed or deleted could only be refused.
  if (names.length && chosen().some((name) => !names.includes(name)))
    props.value = { ...props.value, styles: chosen().filter((name) => names.includes(name)) };
};
const read_book = async () => {
  book = await get('/api/prompt-book');
  paint();
};
watch('value', paint);
read_book().catch(() => {
  /* asked for again when a dialog is opened */
});

// ---------------------------------------------------------------- the book

const insert = (text) => {
  const box = document.querySelector(PROMPT),
    { value, selectionStart, selectionEnd } = box;
  const before = value.slice(0, selectionStart),
    gap = before && !/\s$/.test(before) ? ' ' : '';
  type_into(PROMPT, `${before}${gap}${text}${value.slice(selectionEnd)}`);
  const caret = before.length + gap.length + text.length;
  box.setSelectionRange(caret, caret);
};
const show = book_editor({
  dialog: root.querySelector('dialog'),
  book: () => book,
  changed: (news) => {
    book = news;
    paint();
  },
  insert,
});
const open = async (name) => {
  try {
    await read_book();
    show(name);
  } catch (error) {
    toast(error.message);
  }
};
root.querySelector('.open-lists').addEventListener('click', () => open('lists'));
root.querySelector('.open-styles').addEventListener('click', () => open('styles'));

// ---------------------------------------------------------------- earlier prompts

menu.addEventListener('toggle', () => {
  if (!menu.open) return;
  const prompts = earlier_prompts('');
  choices.replaceChildren(
    ...prompts.map((prompt) =>
      make('button', {
        type: 'button',
        text: prompt,
        onclick: () => {
          menu.open = false;
          type_into(PROMPT, prompt);
        },
      }),
    ),
  );
  if (!prompts.length) choices.append(make('p', { text: 'Your earlier prompts will be listed here.' }));
});
