const line = element.querySelector('.message');
const show = text => { line.textContent = text || ''; };
watch('value', () => show(props.value?.text));
window.addEventListener('atelier:message', event => { if (event.detail.id === props.value?.id) show(event.detail.sentence); });
show(props.value?.text);
