const { make, get, post, toast, ago, confirm } = atelier;
const view = element.querySelector('.picture-view');
// The pictures to turn through, named by whoever opened the view, who may add more as the end comes near.
let list = [], at = 0, near_end = null, picture = null;

const open = detail => {
  [list, at, near_end] = [detail.ids, detail.at, detail.near_end];
  if (!view.open) view.showModal();
  show();
};
const show = async () => {
  const image_id = list[at];
  if (at > list.length - 8) near_end?.();
  let found;
  try { found = await get(`/api/gallery/${image_id}`); } catch (error) { toast(error.message); view.close(); return; }
  if (list[at] !== image_id) return;
  picture = found;
  paint();
  for (const near of [list[at + 1], list[at - 1]]) if (near) get(`/api/gallery/${near}`).then(next => { new Image().src = next.url; }).catch(() => {});
};
const turn = by => {
  if (at + by < 0 || at + by >= list.length) return;
  at += by;
  show();
};
const fact = (name, value) => value === '' || value === null ? [] : [make('dt', { text: name }), make('dd', { text: value })];
const button = (label, work, kind = '') => make('button', { type: 'button', class: `button ${kind}`, text: label, onclick: work });
const copy = async () => {
  try { await navigator.clipboard.writeText(picture.prompt); toast('Prompt copied'); } catch { toast('The browser did not allow copying.'); }
};
const remove = async () => {
  const doomed = picture.image_id;
  if (!await confirm({ title: 'Delete this picture?', text: 'It is deleted for good, with its settings.', yes: 'Delete' })) return;
  try { await post(`/api/gallery/${doomed}/delete`); } catch (error) { toast(error.message); return; }
  window.dispatchEvent(new CustomEvent('atelier:deleted', { detail: doomed }));
  // The list is its owner's, who may have taken the picture out by now.
  if (list.includes(doomed)) list.splice(list.indexOf(doomed), 1);
  toast('Picture deleted');
  if (!list.length) { view.close(); return; }
  at = Math.min(at, list.length - 1);
  show();
};
const reuse = () => { view.close(); trigger('reuse', { image_id: picture.image_id }); };
const paint = () => {
  const focus = document.activeElement?.className;
  view.replaceChildren(
    make('div', { class: 'stage' },
      make('img', { src: picture.url, alt: picture.prompt }),
      make('button', { type: 'button', class: 'turn before', 'aria-label': 'Newer picture', disabled: at === 0, text: '‹', onclick: () => turn(-1) }),
      make('button', { type: 'button', class: 'turn after', 'aria-label': 'Older picture', disabled: at === list.length - 1, text: '›', onclick: () => turn(1) })),
    make('aside', {},
      make('div', { class: 'bar' }, make('small', { text: ago(picture.created_at) }), make('button', { type: 'button', class: 'close', 'aria-label': 'Close', text: '×', onclick: () => view.close() })),
      make('div', {}, make('h2', { text: 'Prompt' }), make('p', { class: 'prompt', text: picture.prompt }), button('Copy prompt', copy, 'small')),
      make('dl', {}, ...fact('Seed', picture.seed), ...fact('Size', `${picture.width} × ${picture.height}`), ...fact('Steps', picture.steps), ...fact('Guidance', picture.guidance),
        ...fact('Base model', picture.base_model), ...picture.loras.flatMap(lora => fact('LoRA', lora)), ...fact('Without', picture.negative_prompt)),
      make('div', { class: 'doings' }, button('Reuse prompt, seed and settings', reuse, 'primary'),
        make('a', { class: 'button', href: picture.download, download: '', text: 'Download PNG' }), button('Delete', remove, 'danger-quiet'))));
  (focus && view.querySelector(`.${focus.split(' ').join('.')}:not(:disabled)`) || view.querySelector('.close')).focus();
};
view.addEventListener('keydown', event => {
  if (event.key === 'ArrowLeft') turn(-1);
  if (event.key === 'ArrowRight') turn(1);
});
view.addEventListener('click', event => { if (event.target === view) view.close(); });
view.addEventListener('close', () => {
  view.replaceChildren();
  window.dispatchEvent(new CustomEvent('atelier:closed', { detail: list[at] }));
});
window.addEventListener('atelier:picture', event => open(event.detail));
