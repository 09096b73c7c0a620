// Making elements, and saying sizes and times in words. Text from people only ever becomes textContent.
{
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (name === 'text') node.textContent = value;
      else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? '' : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  const button = (label, work, kind = '', attributes = {}) =>
    make('button', { type: 'button', class: `button ${kind}`.trim(), text: label, onclick: work, ...attributes });
  const heart = () => {
    const drawing = document.createElementNS('http://www.w3.org/2000/svg', 'svg'),
      outline = document.createElementNS(drawing.namespaceURI, 'path');
    drawing.setAttribute('viewBox', '0 0 24 24');
    drawing.setAttribute('class', 'heart');
    drawing.setAttribute('aria-hidden', 'true');
    outline.setAttribute(
      'd',
      'M12 20s-7.500-4.600-7.500-10.200A4.300 4.300 0 0 1 12 7.200a4.300 4.300 0 0 1 7.500 2.600C19.500 15.400 12 20 12 20z',
    );
    drawing.append(outline);
    return drawing;
  };
  const duration = (seconds) => {
    if (seconds === null || seconds === undefined) return '–';
    if (seconds < 0.05) return '< 0.1 s';
    if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
    if (seconds < 99.5) return `${Math.round(seconds)} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  };
  const ago = (at) => {
    const seconds = Math.max(0, Date.now() / 1000 - at);
    if (seconds < 45) return 'just now';
    if (seconds < 3600) return `${Math.round(seconds / 60) || 1} min ago`;
    if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
    return new Date(at * 1000).toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
  };
  const bytes = (count) => {
    if (count < 2 ** 20) return `${Math.max(1, Math.round(count / 1024))} KB`;
    const megabytes = count / 2 ** 20;
    if (megabytes < 99.95) return `${megabytes.toFixed(1)} MB`;
    return megabytes < 1000 ? `${Math.round(megabytes)} MB` : `${(megabytes / 1024).toFixed(1)} GB`;
  };
  const rate = (value) => (value === null || value === undefined ? '–' : value.toExponential(1).replace('.0e', 'e'));
  const STATUS = {
    queued: 'Queued',
    running: 'Running',
    cancelling: 'Stopping…',
    done: 'Done',
    failed: 'Failed',
    cancelled: 'Cancelled',
    lost: 'Lost',
  };
  // Of a run, a press or a cell.
  const GOING = ['queued', 'running', 'cancelling'];
  const is_going = ({ status }) => GOING.includes(status);
  const plural = (count, word) => `${count.toLocaleString()} ${word}${count === 1 ? '' : 's'}`;
  const capital = (text) => (text ? text[0].toUpperCase() + text.slice(1) : '');

  Object.assign((window.atelier ??= {}), {
    make,
    button,
    heart,
    duration,
    ago,
    bytes,
    rate,
    capital,
    plural,
    is_going,
    STATUS,
  });
}
