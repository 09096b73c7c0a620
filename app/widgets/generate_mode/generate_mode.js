const { address, parameters, tell } = atelier;
const buttons = [...element.querySelectorAll('button')];
let seen = null;

const follow = () => {
  const grid = parameters().get('grid') || '';
  if (grid === seen) return;
  seen = grid;
  document.body.dataset.mode = grid ? 'compare' : '';
  document.body.dataset.grid = grid && grid !== 'new' ? 'one' : '';
  for (const button of buttons)
    button.setAttribute('aria-pressed', String(Boolean(button.dataset.mode) === Boolean(grid)));
  tell('grid', grid);
};
for (const button of buttons)
  button.addEventListener('click', () => {
    address({ tab: 'generate', grid: button.dataset.mode });
    follow();
  });
window.addEventListener('atelier:open-grid', (event) => {
  address({ tab: 'generate', grid: event.detail });
  follow();
  // On a phone the list it was chosen from lies far below.
  window.scrollTo({ top: 0 });
});
for (const name of ['popstate', 'atelier:tab']) window.addEventListener(name, follow);
follow();
