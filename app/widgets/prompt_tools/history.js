// The prompts of before: the up key goes back through them, the down key forth to what stood there.
const PROMPT = '#prompt textarea';
const earlier_prompts = (but) =>
  [...new Set((atelier.recent_runs?.() || []).map((run) => run.prompt))].filter((prompt) => prompt !== but.trim());
const walk = { place: -1, draft: '', shown: null };
const go_back = (by) => {
  const prompts = earlier_prompts(walk.draft),
    place = Math.min(prompts.length - 1, walk.place + by);
  if (place === walk.place) return;
  walk.place = place;
  walk.shown = place < 0 ? walk.draft : prompts[place];
  atelier.type_into(PROMPT, walk.shown);
  const box = document.querySelector(PROMPT);
  box.setSelectionRange(box.value.length, box.value.length);
};
const up = (event, box) => {
  if (walk.place >= 0 && box.value === walk.shown) {
    event.preventDefault();
    go_back(1);
    return;
  }
  Object.assign(walk, { place: -1, draft: box.value, shown: null });
  if (!box.value) {
    event.preventDefault();
    go_back(1);
    return;
  }
  // On the first line, long lines being broken, the key has nowhere to move to.
  const { selectionStart, selectionEnd } = box;
  setTimeout(() => {
    if (selectionStart === selectionEnd && box.selectionStart === selectionStart && box.selectionEnd === selectionEnd)
      go_back(1);
  });
};
const down = (event, box) => {
  if (walk.place < 0 || box.value !== walk.shown) return;
  event.preventDefault();
  go_back(-1);
};
document.addEventListener('keydown', (event) => {
  const box = event.target;
  if (!box.matches?.(PROMPT) || event.isComposing) return;
  const plain = !(event.shiftKey || event.altKey || event.ctrlKey || event.metaKey);
  if (plain && event.key === 'ArrowUp') up(event, box);
  else if (plain && event.key === 'ArrowDown') down(event, box);
  else walk.place = -1;
});
document.addEventListener('pointerdown', (event) => {
  if (event.target.matches?.(PROMPT)) walk.place = -1;
});
