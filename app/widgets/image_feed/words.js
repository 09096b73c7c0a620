// What a press of Generate is at, in words.
const is_going = (run) => GOING.includes(run.status);
const share = (run) => (run.steps ? Math.min(100, (100 * run.step) / run.steps) : 0);
const PHASES = {
  queued: 'Starting',
  starting: 'A worker is starting',
  'fetching data': 'Fetching model and LoRAs',
  'loading model': 'Loading the model',
};
const in_line = (ahead) =>
  ahead === 0 ? 'Next in line, waiting for a worker' : ahead === 1 ? 'Queued, 1 ahead' : `Queued, ${ahead} ahead`;
// A cold start takes its time: the seconds say that it is not stuck.
const waited = (run) => {
  const seconds = Date.now() / 1000 - run.phase_since;
  return run.phase_since && seconds >= 3 ? ` · ${duration(Math.floor(seconds))}` : '';
};
const state_words = (run) => {
  if (run.status === 'sending') return 'Sending…';
  if (run.status === 'queued') return in_line(run.ahead);
  if (run.status !== 'running') return STATUS[run.status];
  if (run.phase === 'generating' && run.steps) return `Step ${run.step} of ${run.steps}`;
  return `${PHASES[run.phase] || capital(run.phase)}${waited(run)}`;
};
