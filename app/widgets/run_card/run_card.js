const { make, poll, get, post, ago, duration, bytes, rate, capital, STATUS, parameters, address, toast } = atelier;
const $ = selector => element.querySelector(selector);
const card = $('.run-card'), absent = $('.run-card-absent'), plot = $('.plot svg'), log = $('.log');
const ORDER = ['queued', 'starting', 'fetching data', 'loading model', 'caching', 'training', 'sampling', 'saving', 'uploading'];
const GOING = ['queued', 'running', 'cancelling'];
const SILENT_S = 90;
let run_id = parameters().get('run') || '', run = null, version = '', stopping = false, restarting = false;
let curve = { steps: [], loss: [], learning_rate: [] }, smooth = [], curve_step = -1, shown_samples = '', shown_checkpoints = '';

// ---------------------------------------------------------------- what can be done

const act = (label, work, kind = '') => make('button', { type: 'button', class: `button ${kind}`, text: label, onclick: work });
const prompt_with = key => trigger('prompt_lora', { key, base_model: run.base_model_id, trigger_word: run.trigger_word });
const download = (url, label = 'Download') => make('a', { class: 'button', href: url, download: '', text: label });

const cancel = async () => {
  const kept = run.checkpoints.length ? `What was learnt up to step ${run.checkpoints.at(-1).step} is kept, and can be prompted and resumed.` : 'There is no checkpoint yet to keep.';
  const agreed = await atelier.confirm({ title: `Stop “${run.name}”?`, text: `The training stops within seconds. ${kept}`, yes: 'Stop training', no: 'Go on' });
  if (!agreed) return;
  stopping = true;
  paint();
  await ask(`/api/runs/${run_id}/cancel`, () => { stopping = false; });
};
const retry = async () => {
  restarting = true;
  paint();
  await ask(`/api/runs/${run_id}/retry`, () => {});
  restarting = false;
  version = '';
  refresh();
};
const ask = async (path, failed) => {
  try {
    await post(path);
    refresh();
  } catch (error) {
    failed();
    notice(error.message);
    paint();
  }
};

const actions = () => {
  if (restarting) return [make('span', { class: 'button busy', text: 'Starting again…' })];
  if (run.status === 'cancelling' || (stopping && GOING.includes(run.status))) return [make('span', { class: 'button busy', text: 'Stopping…' })];
  if (GOING.includes(run.status)) return [act('Cancel', cancel)];
  if (run.status === 'done') return [download(run.lora.download, 'Download LoRA'), act('Use in Generate', () => prompt_with(run.lora.key), 'primary')];
  const last = run.checkpoints.at(-1);
  return [act(last ? `Resume from step ${last.step.toLocaleString()}` : 'Retry', retry, 'primary')];
};

// ---------------------------------------------------------------- painting

const notice = sentence => { $('.poll-notice').textContent = sentence; };
const since = at => Math.max(0, Date.now() / 1000 - at);

const figure = (name, value, small = '') => make('div', {}, make('dt', { text: name }),
  make('dd', { text: value }, small ? make('small', { text: ` ${small}` }) : null));
const figures = () => {
  const loss = smooth.length ? smooth.at(-1) : run.loss;
  const trained = run.phases.find(phase => phase.phase === 'training')?.seconds;
  const pace = run.seconds_per_step ?? (run.step && trained ? trained / run.step : null);
  const total = run.phases.reduce((sum, phase) => sum + phase.seconds, 0);
  return [
    figure('Step', run.step.toLocaleString(), `of ${run.steps.toLocaleString()}`),
    GOING.includes(run.status) ? figure('Time left', run.seconds_left === null ? '–' : `about ${duration(run.seconds_left)}`) : figure('Time taken', duration(total)),
    figure('Per step', pace === null ? '–' : pace < 1 ? `${Math.round(pace * 1000)} ms` : `${pace.toFixed(2)} s`),
    figure('Loss', loss === null || loss === undefined ? '–' : loss.toFixed(4), smooth.length ? 'smoothed' : ''),
    figure('Learning rate', rate(run.learning_rate ?? curve.learning_rate.at(-1))),
  ];
};

const phases = () => {
  const spent = new Map(run.phases.map(phase => [phase.phase, phase.seconds]));
  const now = run.status === 'queued' ? 'queued' : GOING.includes(run.status) ? run.phase || 'starting' : '';
  const told = run.phases.reduce((sum, phase) => sum + phase.seconds, 0);
  // The worker can't know how long it was waited for.
  if (run.status === 'queued') spent.set('queued', since(run.submitted_at));
  else if (!spent.has('queued') && run.updated_at && run.attempt === 1) spent.set('queued', Math.max(0, run.updated_at - told - run.submitted_at));
  if (now && now !== 'queued' && run.updated_at) spent.set(now, (spent.get(now) || 0) + Math.min(SILENT_S, since(run.updated_at)));
  return ORDER.filter(phase => now || spent.has(phase)).map(phase => make('li',
    { class: phase === now ? 'now' : spent.has(phase) ? 'past' : 'ahead', 'aria-current': phase === now ? 'step' : null },
    document.createTextNode(capital(phase)), make('b', { text: spent.has(phase) ? duration(spent.get(phase)) : '–' })));
};

const problem = () => {
  const box = $('.problem'), cancelled = run.status === 'cancelled';
  box.hidden = !run.problem;
  if (!run.problem) return;
  const said = `${run.problem.message} ${run.problem.hint}`, last = run.checkpoints.at(-1);
  const kept = last && !said.includes('kept') ? ` The checkpoint of step ${last.step.toLocaleString()} is kept.` : '';
  box.classList.toggle('calm', cancelled);
  box.querySelector('b').textContent = run.problem.message;
  box.querySelector('p').textContent = `${run.problem.hint}${kept}`.trim();
};

const samples = () => {
  const key = `${run_id} ${run.samples.length} ${run.attempt}`;
  $('.samples .nothing').hidden = run.samples.length > 0;
  $('.samples .scroll').hidden = run.samples.length === 0;
  if (key === shown_samples) return;
  shown_samples = key;
  const prompts = [...new Set(run.samples.map(sample => sample.prompt))], steps = [...new Set(run.samples.map(sample => sample.step))].sort((a, b) => a - b);
  const cell = (step, prompt) => {
    const sample = run.samples.find(each => each.step === step && each.prompt === prompt);
    return make('td', {}, sample ? make('button', { type: 'button', 'aria-label': `Sample of “${prompt}” at step ${step}, enlarge`, onclick: () => enlarge(sample) },
      make('img', { src: sample.url, alt: '', loading: 'lazy', decoding: 'async', width: 128, height: 128 })) : null);
  };
  $('.samples table').replaceChildren(
    make('thead', {}, make('tr', {}, make('th', { scope: 'col', text: 'Step' }), ...prompts.map(prompt => make('th', { scope: 'col', text: prompt })))),
    make('tbody', {}, ...steps.map(step => make('tr', {}, make('th', { scope: 'row' }, make('b', { text: step.toLocaleString() }), step ? null : document.createTextNode('before')), ...prompts.map(prompt => cell(step, prompt))))));
};
const enlarge = sample => {
  const dialog = make('dialog', { class: 'atelier-dialog atelier-sample', 'aria-label': `Step ${sample.step}: ${sample.prompt}` },
    make('img', { src: sample.url, alt: sample.prompt }), make('p', { text: `Step ${sample.step} · ${sample.prompt}` }),
    make('div', { class: 'dialog-buttons' }, act('Close', () => dialog.close())));
  dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => dialog.remove());
  document.querySelector('.gradio-container').append(dialog);
  dialog.showModal();
};

const checkpoints = () => {
  const key = `${run_id} ${run.checkpoints.map(each => each.step)}`;
  $('.checkpoints').hidden = !run.checkpoints.length;
  if (key === shown_checkpoints) return;
  shown_checkpoints = key;
  $('.checkpoints ul').replaceChildren(...[...run.checkpoints].reverse().map(each => make('li', {},
    make('b', { text: `Step ${each.step.toLocaleString()}` }), make('small', { text: bytes(each.bytes) }),
    act('Prompt this checkpoint', () => prompt_with(each.key)), download(each.download))));
};

const paint = () => {
  card.hidden = !run;
  absent.hidden = true;
  if (!run) return;
  const going = GOING.includes(run.status), share = run.steps ? 100 * run.step / run.steps : 0;
  $('h2').textContent = run.name;
  $('.chip .dot').className = `dot ${run.status}`;
  $('.chip span').textContent = STATUS[run.status];
  $('.when').textContent = [run.base_model, run.trigger_word && `trigger “${run.trigger_word}”`, ago(run.submitted_at), run.attempt > 1 && `attempt ${run.attempt}`].filter(Boolean).join(' · ');
  const silent = run.status === 'running' && run.updated_at && since(run.updated_at) > SILENT_S;
  if (silent) notice(`The worker has said nothing for ${duration(since(run.updated_at))}. It may be busy; a dead one is noticed and its work resumed.`);
  $('.actions').replaceChildren(...actions());
  $('.run-card > .meter').classList.toggle('going', going && run.status !== 'queued');
  $('.run-card > .meter i').style.width = `${share}%`;
  $('.run-card > .meter').setAttribute('aria-valuemax', run.steps);
  $('.run-card > .meter').setAttribute('aria-valuenow', run.step);
  $('.figures').replaceChildren(...figures());
  $('.phases').replaceChildren(...phases());
  $('.settings dl').replaceChildren(...run.settings.map(([name, value]) => make('div', {}, make('dt', { text: name }), make('dd', { text: value }))));
  problem();
  samples();
  checkpoints();
};

// ---------------------------------------------------------------- the loss curve

let WIDTH = 600;
const HEIGHT = 236, LEFT = 50, RIGHT = 14, TOP = 16, BOTTOM = 28;
const svg = (tag, attributes) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};
let scale = null;
const draw = () => {
  const { steps, loss } = curve;
  $('.plot .nothing').hidden = steps.length > 1;
  plot.replaceChildren();
  // One unit is one pixel, so that the letters keep their size on a phone.
  WIDTH = plot.parentElement.clientWidth || WIDTH;
  plot.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  if (steps.length < 2) { scale = null; return; }
  // The first steps may be off by far: the axis leaves the top two in a hundred out.
  const sorted = [...loss].sort((a, b) => a - b), high = sorted[Math.floor(sorted.length * .98)] || sorted.at(-1), low = Math.max(0, sorted[0]);
  const top = high + (high - low) * .08 || 1, bottom = Math.max(0, low - (high - low) * .08), first = steps[0], last = steps.at(-1);
  const x = step => LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / (last - first || 1);
  const y = value => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(1, Math.max(0, (value - bottom) / (top - bottom || 1))));
  scale = { x, y, first, last };
  for (const part of [0, .5, 1]) {
    const value = bottom + (top - bottom) * part, label = svg('text', { x: LEFT - 8, y: y(value) + 4, 'text-anchor': 'end' });
    label.textContent = value < .1 ? value.toFixed(3) : value.toFixed(2);
    plot.append(svg('line', { class: 'grid-line', x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }), label);
  }
  for (const [step, anchor] of [[first, 'start'], [last, 'end']]) {
    const label = svg('text', { x: x(step), y: HEIGHT - 8, 'text-anchor': anchor });
    label.textContent = step.toLocaleString();
    plot.append(label);
  }
  // More points than pixels are drawn by their mean.
  const stride = Math.max(1, Math.ceil(steps.length / WIDTH));
  const line = values => {
    let path = '';
    for (let index = 0; index < values.length; index += stride) {
      const part = values.slice(index, index + stride), mean = part.reduce((sum, value) => sum + value, 0) / part.length;
      path += `${path ? 'L' : 'M'}${x(steps[Math.min(index + stride, steps.length) - 1]).toFixed(1)} ${y(mean).toFixed(1)}`;
    }
    return path;
  };
  const smoothed = line(smooth);
  plot.append(svg('path', { class: 'area', d: `${smoothed}L${x(last)} ${HEIGHT - BOTTOM}L${smoothed.slice(1).split(' ')[0]} ${HEIGHT - BOTTOM}Z` }),
    svg('path', { class: 'raw', d: line(loss) }), svg('path', { class: 'smooth', d: smoothed }),
    svg('line', { class: 'cursor', y1: TOP, y2: HEIGHT - BOTTOM, visibility: 'hidden' }), svg('circle', { class: 'spot', r: 4.5, visibility: 'hidden' }));
  plot.setAttribute('aria-label', `Loss from ${smooth[0].toFixed(4)} at step ${first} to ${smooth.at(-1).toFixed(4)} at step ${last}`);
};
const hover = event => {
  if (!scale) return;
  const box = plot.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * WIDTH;
  const wanted = scale.first + (at - LEFT) / (WIDTH - LEFT - RIGHT) * (scale.last - scale.first);
  let index = curve.steps.findIndex(step => step >= wanted);
  if (index < 0) index = curve.steps.length - 1;
  const step = curve.steps[index], output = $('.plot output');
  plot.querySelector('.cursor').setAttribute('x1', scale.x(step));
  plot.querySelector('.cursor').setAttribute('x2', scale.x(step));
  plot.querySelector('.spot').setAttribute('cx', scale.x(step));
  plot.querySelector('.spot').setAttribute('cy', scale.y(smooth[index]));
  for (const part of ['.cursor', '.spot']) plot.querySelector(part).setAttribute('visibility', 'visible');
  output.hidden = false;
  output.textContent = `Step ${step.toLocaleString()}: ${smooth[index].toFixed(4)} (raw ${curve.loss[index].toFixed(4)})`;
};
plot.addEventListener('pointermove', hover);
new ResizeObserver(() => { if (plot.parentElement.clientWidth && plot.parentElement.clientWidth !== WIDTH) draw(); }).observe(plot.parentElement);
plot.addEventListener('pointerleave', () => {
  $('.plot output').hidden = true;
  for (const part of ['.cursor', '.spot']) plot.querySelector(part)?.setAttribute('visibility', 'hidden');
});

const read_curve = async () => {
  if (run.step <= curve_step || !run.step) return;
  const id = run_id, last = curve.steps.at(-1) ?? -1, news = await get(`/api/runs/${id}/curve?after=${last}`);
  if (id !== run_id) return;
  // A resumed run goes over steps again that were counted before it stopped.
  if (news.steps.length && news.steps.at(-1) < last) curve = { steps: [], loss: [], learning_rate: [] };
  news.steps.forEach((step, index) => {
    if (step <= (curve.steps.at(-1) ?? -1)) return;
    curve.steps.push(step);
    curve.loss.push(news.loss[index]);
    curve.learning_rate.push(news.learning_rate[index]);
  });
  curve_step = run.step;
  // A running mean that isn't held at the first value while there are few.
  const keep = curve.loss.length < 200 ? .8 : curve.loss.length < 1000 ? .92 : .98;
  let sum = 0, weight = 0;
  smooth = curve.loss.map(value => {
    sum = keep * sum + (1 - keep) * value;
    weight = keep * weight + 1 - keep;
    return sum / weight;
  });
  draw();
};

// ---------------------------------------------------------------- the log

const read_log = async () => {
  if (!log.open || !run) return;
  const text = await (await fetch(`/api/runs/${run_id}/log`)).text(), pre = log.querySelector('pre');
  const at_end = pre.scrollTop + pre.clientHeight > pre.scrollHeight - 24;
  if (pre.textContent !== text) pre.textContent = text || 'Nothing has been said yet.';
  if (at_end) pre.scrollTop = pre.scrollHeight;
};
log.addEventListener('toggle', () => read_log().catch(() => {}));

// ---------------------------------------------------------------- keeping up

const open = id => {
  if (id === run_id && run) { refresh(); return; }
  run_id = id;
  run = null;
  version = '';
  stopping = restarting = false;
  curve = { steps: [], loss: [], learning_rate: [] };
  smooth = [];
  curve_step = -1;
  shown_samples = shown_checkpoints = '';
  log.open = false;
  card.hidden = absent.hidden = true;
  draw();
  refresh();
};

const lost = (sentence, error) => {
  notice(sentence);
  if (error?.status !== 404) return;
  run = null;
  card.hidden = true;
  absent.hidden = false;
  absent.querySelector('p').textContent = sentence;
};
const refresh = poll({
  element: element,
  failed: lost,
  read: async () => {
    if (!run_id) return 4000;
    const id = run_id, news = await get(`/api/runs/${id}?since=${encodeURIComponent(version)}`);
    if (id !== run_id) return 0;
    if (news) {
      if (run && GOING.includes(run.status) && !GOING.includes(news.status)) {
        stopping = false;
        toast(`${news.name}: ${STATUS[news.status].toLowerCase()}`);
      }
      notice('');
      run = news;
      version = news.version;
      await read_curve();
    }
    if (run) paint();
    await read_log();
    return !run || GOING.includes(run.status) ? 2000 : 20000;
  },
});

$('.back').addEventListener('click', () => {
  address({ run: '' });
  window.dispatchEvent(new CustomEvent('atelier:run', { detail: '' }));
});
window.addEventListener('atelier:run', event => open(event.detail));
