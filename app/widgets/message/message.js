const line = element.querySelector('.message');
// Where terms have to be accepted is a press away.
const ADDRESS = /(https:\/\/huggingface\.co\/[\w./-]*\w)/;
const show = (text) =>
  line.replaceChildren(
    ...(text || '')
      .split(ADDRESS)
      .filter(Boolean)
      .map((part) =>
        ADDRESS.test(part)
          ? atelier.make('a', { href: part, target: '_blank', rel: 'noopener', text: part.replace('https://', '') })
          : document.createTextNode(part),
      ),
  );
watch('value', () => show(props.value?.text));
window.addEventListener('atelier:message', (event) => {
  if (event.detail.id !== props.value?.id) return;
  // The value has to follow, or the server could not take back what it does not know to be shown.
  props.value = { ...props.value, text: event.detail.sentence };
  show(event.detail.sentence);
});
// What was wrong with a form may be right once somebody edits it.
element.closest('.rail')?.addEventListener('input', () => {
  if (props.value?.text) atelier.say(props.value.id, '');
});
show(props.value?.text);
