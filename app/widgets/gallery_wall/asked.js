// What the address asks for, as the server is asked.
const day = (date, days = 0) => {
  const at = new Date(date);
  at.setHours(0, 0, 0, 0);
  at.setDate(at.getDate() + days);
  return at.getTime() / 1000;
};
const dates = (when) => {
  if (when === 'today') return { since: day(Date.now()) };
  if (/^\d+$/.test(when)) return { since: day(Date.now(), -when + 1) };
  const [first, last] = when.split('..').map((text) => (/^\d{4}-\d\d-\d\d$/.test(text || '') ? `${text}T00:00` : ''));
  return { since: first && day(first), until: last && day(last, 1) };
};
const question = (more = {}) => {
  const asked = atelier.parameters(),
    wanted = { ...dates(asked.get('when') || ''), ...more };
  for (const name of ['q', 'base', 'shape', 'liked']) wanted[name] = asked.get(name);
  wanted.lora = asked.get('with');
  return new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
};
const is_filtered = () => [...question().keys()].length > 0;
