// The loss over the steps: a smoothed line over the raw one, values under the pointer, a linear or a logarithmic axis.
const loss_curve = (section) => {
  const HEIGHT = 204,
    LEFT = 50,
    RIGHT = 14,
    TOP = 16,
    BOTTOM = 28,
    APART = 48, // pixels from one step's number to the next
    LEAST = 1e-9;
  const plot = section.querySelector('svg'),
    output = section.querySelector('output'),
    axis = section.querySelector('.axis');
  let width = 600,
    scale = null,
    at = null,
    logarithmic = false,
    read_up_to = -1;
  let steps = [],
    loss = [],
    rates = [],
    smooth = [];

  const svg = (tag, attributes) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const height_of = (value) => (logarithmic ? Math.log10(Math.max(LEAST, value)) : value);
  const written = (value) => (value && value < 0.001 ? value.toExponential(0) : String(value));
  // Round numbers from low to high, about as many as asked for.
  const round_values = (low, high, about) => {
    const rough = (high - low) / about || 1,
      power = 10 ** Math.floor(Math.log10(rough)),
      by = power * [1, 2, 5, 10].find((times) => times * power >= rough);
    const values = [];
    for (let times = Math.ceil(low / by); times * by <= high; times += 1)
      values.push(Number((times * by).toPrecision(6)));
    return values;
  };
  // Where a scale is drawn by powers of ten, those and between them their two- and fivefold, while there is room.
  const round_powers = (low, high) => {
    const powers = Array.from({ length: Math.ceil(high) - Math.floor(low) }, (_, index) => Math.floor(low) + index);
    const values = powers.flatMap((power) => (powers.length < 3 ? [1, 2, 5] : [1]).map((times) => times * 10 ** power));
    return values
      .map((value) => Number(value.toPrecision(1)))
      .filter((value) => Math.log10(value) >= low && Math.log10(value) <= high);
  };

  // The first steps may be off by far: the axis leaves the top two in a hundred out.
  const span = () => {
    const sorted = [...loss].sort((a, b) => a - b),
      least = logarithmic ? (sorted.find((value) => value > 0) ?? LEAST) : Math.max(0, sorted[0]);
    const high = height_of(sorted[Math.floor(sorted.length * 0.98)] || sorted.at(-1)),
      low = height_of(least),
      air = (high - low) * 0.08 || 0.04;
    return { top: high + air, bottom: logarithmic ? low - air : low > high / 4 ? Math.max(0, low - air) : 0 };
  };
  const draw = () => {
    section.querySelector('.nothing').hidden = steps.length > 1;
    axis.hidden = steps.length < 2;
    plot.replaceChildren();
    // One unit is one pixel, so that the letters keep their size on a phone.
    width = plot.parentElement.clientWidth || width;
    plot.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    if (steps.length < 2) {
      scale = null;
      return;
    }
    const { top, bottom } = span(),
      first = steps[0],
      last = steps.at(-1);
    const x = (step) => LEFT + ((width - LEFT - RIGHT) * (step - first)) / (last - first || 1);
    const y = (value) =>
      TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(1, Math.max(0, (height_of(value) - bottom) / (top - bottom || 1))));
    scale = { x, y, first, last };
    const write = (text, place) => plot.append(Object.assign(svg('text', place), { textContent: text }));
    const rule = (at) => plot.append(svg('line', { class: 'grid-line', x1: LEFT, x2: width - RIGHT, y1: at, y2: at }));
    rule(HEIGHT - BOTTOM);
    for (const value of logarithmic ? round_powers(bottom, top) : round_values(bottom, top, 5)) {
      rule(y(value));
      write(written(value), { x: LEFT - 8, y: y(value) + 4, 'text-anchor': 'end' });
    }
    const between = round_values(first, last, 4).filter(
      (step) => Number.isInteger(step) && x(step) - x(first) > APART && x(last) - x(step) > APART,
    );
    for (const step of [first, ...between, last]) {
      const anchor = step === first ? 'start' : step === last ? 'end' : 'middle';
      write(step.toLocaleString(), { x: x(step), y: HEIGHT - 8, 'text-anchor': anchor });
    }
    // More points than pixels are drawn by their mean.
    const stride = Math.max(1, Math.ceil(steps.length / width));
    const line = (values) => {
      let path = '';
      for (let index = 0; index < values.length; index += stride) {
        const part = values.slice(index, index + stride),
          mean = part.reduce((sum, value) => sum + value, 0) / part.length;
        path += `${path ? 'L' : 'M'}${x(steps[Math.min(index + stride, steps.length) - 1]).toFixed(1)} ${y(mean).toFixed(1)}`;
      }
      return path;
    };
    const smoothed = line(smooth);
    plot.append(
      svg('path', {
        class: 'area',
        d: `${smoothed}L${x(last)} ${HEIGHT - BOTTOM}L${smoothed.slice(1).split(' ')[0]} ${HEIGHT - BOTTOM}Z`,
      }),
      svg('path', { class: 'raw', d: line(loss) }),
      svg('path', { class: 'smooth', d: smoothed }),
      svg('line', { class: 'cursor', y1: TOP, y2: HEIGHT - BOTTOM, visibility: 'hidden' }),
      svg('circle', { class: 'spot', r: 4.5, visibility: 'hidden' }),
    );
    if (at !== null && at < steps.length) show_at(at);
    plot.setAttribute(
      'aria-label',
      `Loss from ${smooth[0].toFixed(4)} at step ${first} to ${smooth.at(-1).toFixed(4)} at step ${last}`,
    );
  };

  const show_at = (index) => {
    at = index;
    const cursor = plot.querySelector('.cursor'),
      spot = plot.querySelector('.spot');
    cursor.setAttribute('x1', scale.x(steps[index]));
    cursor.setAttribute('x2', scale.x(steps[index]));
    spot.setAttribute('cx', scale.x(steps[index]));
    spot.setAttribute('cy', scale.y(smooth[index]));
    for (const part of [cursor, spot]) part.setAttribute('visibility', 'visible');
    output.hidden = false;
    output.textContent = `Step ${steps[index].toLocaleString()}: ${smooth[index].toFixed(4)} (raw ${loss[index].toFixed(4)})`;
  };
  const leave = () => {
    at = null;
    output.hidden = true;
    for (const part of ['.cursor', '.spot']) plot.querySelector(part)?.setAttribute('visibility', 'hidden');
  };
  const point_at = (event) => {
    if (!scale) return;
    const box = plot.getBoundingClientRect(),
      place = ((event.clientX - box.left) / box.width) * width;
    const wanted = scale.first + ((place - LEFT) / (width - LEFT - RIGHT)) * (scale.last - scale.first);
    const index = steps.findIndex((step) => step >= wanted);
    show_at(index < 0 ? steps.length - 1 : index);
  };
  // By keyboard a fiftieth of the curve at a time, with Shift a single step.
  const MOVES = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  plot.addEventListener('keydown', (event) => {
    if (!scale || !(event.key in MOVES)) return;
    event.preventDefault();
    const by = event.shiftKey ? 1 : Math.max(1, Math.round(steps.length / 50));
    show_at(Math.min(steps.length - 1, Math.max(0, (at ?? steps.length) + MOVES[event.key] * by)));
  });
  plot.addEventListener('blur', leave);
  plot.addEventListener('pointermove', point_at);
  plot.addEventListener('pointerleave', leave);
  axis.addEventListener('click', () => {
    logarithmic = !logarithmic;
    axis.setAttribute('aria-pressed', logarithmic);
    draw();
  });
  new ResizeObserver(() => {
    if (plot.parentElement.clientWidth && plot.parentElement.clientWidth !== width) draw();
  }).observe(plot.parentElement);

  const forget = () => {
    steps = [];
    loss = [];
    rates = [];
    smooth = [];
  };
  // A running mean that isn't held at the first value while there are few.
  const smoothed = () => {
    const keep = loss.length < 200 ? 0.8 : loss.length < 1000 ? 0.92 : 0.98;
    let sum = 0,
      weight = 0;
    return loss.map((value) => {
      sum = keep * sum + (1 - keep) * value;
      weight = keep * weight + 1 - keep;
      return sum / weight;
    });
  };

  return {
    clear: () => {
      forget();
      read_up_to = -1;
      draw();
    },
    // Reads what is new of a run's curve; `is_open` tells whether it is still the one to show.
    read: async (run, is_open) => {
      if (run.step === read_up_to || !run.step) return;
      const behind = (step) => atelier.get(`/api/runs/${run.run_id}/curve?after=${step}`),
        last = steps.at(-1) ?? -1;
      let news = await behind(last);
      // A resumed run goes over steps again that were counted before it stopped.
      const goes_back = news.steps.length > 0 && news.steps.at(-1) < last;
      if (goes_back) news = await behind(-1);
      if (!is_open()) return;
      if (goes_back) forget();
      news.steps.forEach((step, index) => {
        if (step <= (steps.at(-1) ?? -1)) return;
        steps.push(step);
        loss.push(news.loss[index]);
        rates.push(news.learning_rate[index]);
      });
      read_up_to = run.step;
      smooth = smoothed();
      draw();
    },
    loss: () => smooth.at(-1),
    learning_rate: () => rates.at(-1),
  };
};
