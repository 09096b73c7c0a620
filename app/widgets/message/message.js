const line = element.querySelector('.message');
const show = text => { line.textContent = text || ''; };
watch('value', () => show(props.value?.text));
window.addEventListener('atelier:message', event => {
  if (event.detail.id !== props.value?.id) return;
  // The value has to follow, or the server could not take back what it does not know to be shown.
  props.value = { ...props.value, text: event.detail.sentence };
  show(event.detail.sentence);
});
show(props.value?.text);
