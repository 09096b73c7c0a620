const root = element.querySelector('.seed-field'),
  input = root.querySelector('input'),
  lock = root.querySelector('.lock');
const SEEDS = 2n ** 64n,
  DRAWN = 1e10; // those drawn are short enough to read and to type

const is_seed = (text) => /^\d{1,20}$/.test(text) && BigInt(text) < SEEDS;
const draw = () => String(Math.floor(Math.random() * DRAWN));
const newest = () => atelier.recent_runs?.().find((run) => run.seed)?.seed || '';
const paint = () => {
  const seed = String(props.value ?? '').trim();
  if (input.value.trim() !== seed) input.value = seed;
  lock.setAttribute('aria-pressed', String(Boolean(seed)));
  lock.title = seed ? 'Seed kept. Press for a new one each time' : 'Keep the seed of the latest pictures';
  input.setAttribute('aria-invalid', String(Boolean(seed) && !is_seed(seed)));
};
const set = (seed) => {
  props.value = seed;
  paint();
};
const step = (by) => {
  const seed = String(props.value ?? '').trim() || newest() || draw();
  if (is_seed(seed)) set(String((BigInt(seed) + by + SEEDS) % SEEDS));
};
input.addEventListener('input', () => set(input.value.trim()));
input.addEventListener('keydown', (event) => {
  if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return;
  event.preventDefault();
  step(event.key === 'ArrowUp' ? 1n : -1n);
});
root.querySelector('.less').addEventListener('click', () => step(-1n));
root.querySelector('.more').addEventListener('click', () => step(1n));
root.querySelector('.shuffle').addEventListener('click', () => set(draw()));
lock.addEventListener('click', () => set(props.value ? '' : newest() || draw()));
watch('value', paint);
paint();
