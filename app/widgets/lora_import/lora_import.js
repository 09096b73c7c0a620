const { make, bytes, tell, send_file } = atelier;
const root = element.querySelector('.lora-import'),
  note = root.querySelector('.note'),
  refused = root.querySelector('.refused');
const sending = root.querySelector('.sending'),
  meter = root.querySelector('.meter');
const waiting = [];
let going = null,
  share = 0,
  taken = [];

const reason_against = (file) => {
  if (!file.name.toLowerCase().endsWith('.safetensors'))
    return 'it isn’t a .safetensors file. Import a LoRA in that format.';
  return file.size > props.value.max_bytes
    ? `it is ${bytes(file.size)}; the most is ${bytes(props.value.max_bytes)}.`
    : '';
};
const refuse = (file, reason) =>
  refused.append(make('li', {}, make('b', { text: file.name }), document.createTextNode(`: ${reason}`)));
const paint = () => {
  sending.hidden = !going;
  meter.firstElementChild.style.width = `${share}%`;
  meter.setAttribute('aria-valuenow', Math.round(share));
  if (going) note.textContent = share < 100 ? `Sending ${going.name}…` : `Checking ${going.name}…`;
  else note.textContent = taken.join(' ');
};

const send = (file) =>
  send_file(`/api/loras/files?name=${encodeURIComponent(file.name)}`, file, {
    said: (loaded) => {
      share = (100 * loaded) / (file.size || 1);
      paint();
    },
    begun: (request) => {
      root.querySelector('.stop').onclick = () => {
        waiting.length = 0;
        request.abort();
      };
    },
  });
const work = async () => {
  if (going) return;
  while ((going = waiting.shift())) {
    share = 0;
    paint();
    try {
      const { lora, new: is_new } = await send(going);
      taken.push(is_new ? `${lora.name} imported, for ${lora.base_model}.` : `${lora.name} is already here.`);
      tell('loras-changed');
    } catch (error) {
      refuse(going, error.message);
    }
  }
  going = null;
  paint();
};
const take = (files) => {
  if (!going) {
    taken = [];
    refused.replaceChildren();
  }
  for (const file of files) {
    const reason = reason_against(file);
    reason ? refuse(file, reason) : waiting.push(file);
  }
  work();
};
const pick = () => {
  const input = make('input', { type: 'file', multiple: true, accept: '.safetensors' });
  input.addEventListener('change', () => take([...input.files]));
  input.click();
};

root.querySelector('.pick').addEventListener('click', pick);
window.addEventListener('atelier:import-loras', pick);
// The whole tab takes what is dropped, not the strip alone.
const tab = () => root.closest('[role=tabpanel]') || root;
const over = (event) =>
  [...(event.dataTransfer?.types || [])].includes('Files') &&
  root.offsetParent !== null &&
  tab().contains(event.target);
document.addEventListener('dragover', (event) => {
  if (over(event)) {
    event.preventDefault();
    root.classList.add('over');
  }
});
document.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) root.classList.remove('over');
});
document.addEventListener('drop', (event) => {
  root.classList.remove('over');
  if (!over(event)) return;
  event.preventDefault();
  take([...event.dataTransfer.files]);
});
