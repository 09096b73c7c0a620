const { make, get, open_tab } = atelier;
const root = element.querySelector('.gallery-wall'), wall = root.querySelector('.tiles'), end = root.querySelector('.end');
const notice = root.querySelector('.poll-notice'), empty = root.querySelector('.empty-state');
const ids = [];
let after = '', finished = false, busy = false;

// ---------------------------------------------------------------- the wall

const tile = picture => {
  const button = make('button', { type: 'button', class: 'tile', 'aria-label': 'Open picture' },
    make('img', { src: picture.thumb, alt: '', loading: 'lazy', decoding: 'async', width: 200, height: 200 }));
  button.dataset.id = picture.image_id;
  return button;
};
const seen = () => root.offsetParent !== null && !document.hidden;
const more = async () => {
  if (busy || finished || !seen()) return;
  busy = true;
  try {
    const page = await get(`/api/gallery?after=${after}`);
    notice.textContent = '';
    wall.append(...page.pictures.map(tile));
    ids.push(...page.pictures.map(picture => picture.image_id));
    after = page.after;
    finished = !after;
    empty.hidden = ids.length > 0;
  } catch (error) {
    notice.textContent = error.message;
    setTimeout(more, 4000);
    busy = false;
    return;
  }
  busy = false;
  if (end.getBoundingClientRect().top < innerHeight + 700) more();
};
// Pictures made since: put before the others, so that the wall stays where it was scrolled to.
const look_for_new = async () => {
  if (busy || !seen() || (!ids.length && !finished)) return;
  const page = await get('/api/gallery').catch(() => null);
  if (!page) return;
  const known = new Set(ids), fresh = page.pictures.filter(picture => !known.has(picture.image_id));
  if (!fresh.length) return;
  wall.prepend(...fresh.map(tile));
  ids.unshift(...fresh.map(picture => picture.image_id));
  empty.hidden = true;
};
new IntersectionObserver(entries => { if (entries[0].isIntersecting) more(); }, { rootMargin: '900px' }).observe(end);
window.addEventListener('atelier:tab', event => { if (event.detail === 'gallery') setTimeout(() => { more(); look_for_new(); }, 40); });
setInterval(look_for_new, 10000);
wall.addEventListener('click', event => {
  const button = event.target.closest('.tile');
  if (button) show_picture(ids.indexOf(button.dataset.id));
});
wall.addEventListener('keydown', event => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
  if (!(event.key in steps)) return;
  const next = wall.children[[...wall.children].indexOf(event.target) + steps[event.key]];
  if (next) { event.preventDefault(); next.focus(); }
});
const show_picture = at => window.dispatchEvent(new CustomEvent('atelier:picture', { detail: { ids, at, near_end: more } }));
window.addEventListener('atelier:deleted', event => {
  wall.querySelector(`[data-id="${event.detail}"]`)?.remove();
  if (ids.includes(event.detail)) ids.splice(ids.indexOf(event.detail), 1);
  empty.hidden = ids.length > 0 || !finished;
});
window.addEventListener('atelier:closed', event => { if (seen()) wall.querySelector(`[data-id="${event.detail}"]`)?.focus(); });
const columns = () => getComputedStyle(wall).gridTemplateColumns.split(' ').length;
empty.querySelector('button').addEventListener('click', () => open_tab('generate'));
more();
