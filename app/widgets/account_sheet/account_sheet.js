const { make, get, ago, duration, open_run, plural } = atelier;
const sheet = make('dialog', { class: 'atelier-dialog broad account-sheet', 'aria-labelledby': 'account-sheet-title' });
const close = () => sheet.close();
let me = null;

const gauge = ({ label, used, most, share }) =>
  make(
    'div',
    { class: 'gauge' },
    make('span', { class: 'label', text: label }),
    make('b', { text: used }),
    make('span', { class: 'most', text: most ? `of ${most}` : '' }),
    share === null
      ? null
      : make('span', { class: `meter${share >= 1 ? ' full' : ''}` }, make('i', { style: `width:${100 * share}%` })),
  );
const gauges = (list) => make('div', { class: 'gauges' }, ...list.map(gauge));

const table = (caption, heads, rows) =>
  make(
    'div',
    { class: 'wide', role: 'group', tabindex: '0', 'aria-label': caption },
    make(
      'table',
      {},
      make('caption', { class: 'away', text: caption }),
      make('thead', {}, make('tr', {}, ...heads.map((text) => make('th', { scope: 'col', text })))),
      make('tbody', {}, ...rows),
    ),
  );
const cells = (texts) => texts.map((text) => make('td', { text }));

const cost_row = ({ run_id, kind, base_model, at, seconds, pictures, cost, settled }, priced) => {
  const training = kind === 'train',
    what = training ? 'Training' : plural(pictures, 'picture');
  const go = () => {
    close();
    open_run(run_id);
  };
  const name = training
    ? make('button', { type: 'button', class: 'link', text: what, onclick: go })
    : make('span', { text: what });
  const took = settled ? duration(seconds) : `about ${duration(seconds)}`;
  return make(
    'tr',
    {},
    make('td', {}, name),
    ...cells([ago(at), took, ...(priced ? [settled ? cost : `about ${cost}`] : []), base_model]),
  );
};
const costs = ({ latest, priced }) =>
  latest.length
    ? table(
        'What the latest runs cost',
        ['What', 'When', 'Took', ...(priced ? ['Cost'] : []), 'Base model'],
        latest.map((row) => cost_row(row, priced)),
      )
    : make('p', {
        class: 'nothing',
        text: 'Nothing has been used this month. Trainings and pictures are listed here with what they took.',
      });

const person_row = (row, priced) =>
  make(
    'tr',
    {},
    make('th', { scope: 'row', text: row.name }),
    ...cells([
      ...(priced ? [row.today, row.this_month] : []),
      row.pictures_today,
      row.pictures_this_month,
      row.running,
      duration(row.gpu_seconds),
      row.storage,
    ]),
  );
const everybody = ({ people, in_all, priced }) =>
  people === null
    ? []
    : [
        make('h3', { text: 'Everybody together' }),
        gauges(in_all),
        people.length > 1
          ? table(
              'What each person has used',
              [
                'Who',
                ...(priced ? ['Spent today', 'This month'] : []),
                'Pictures today',
                'This month',
                'Running',
                'GPU time',
                'Storage',
              ],
              people.map((row) => person_row(row, priced)),
            )
          : null,
      ];

const head = () =>
  make(
    'header',
    {},
    make(
      'div',
      {},
      make('h2', { id: 'account-sheet-title', text: me?.name || 'You are not signed in' }),
      make('p', {
        text: me?.name
          ? ''
          : me
            ? 'What you make is kept for this browser alone. Signed in, you have a place of your own on every device.'
            : '',
      }),
    ),
    me?.sign_in
      ? make('a', {
          class: 'button primary',
          href: me.sign_in,
          target: window.top === window ? null : '_blank',
          text: 'Sign in with Hugging Face',
        })
      : null,
    me?.sign_out ? make('a', { class: 'button', href: me.sign_out, text: 'Sign out' }) : null,
  );
const foot = () =>
  make(
    'div',
    { class: 'dialog-buttons' },
    make('button', { type: 'button', class: 'button', text: 'Close', onclick: close }),
  );

const paint = (...parts) => sheet.replaceChildren(head(), ...parts.filter(Boolean), foot());
const fill = async () => {
  paint(make('p', { role: 'status', text: 'Adding up…' }));
  try {
    me = await get('/api/me');
    const usage = await get('/api/usage');
    const alone = usage.people !== null && usage.people.length < 2;
    paint(
      make('h3', { text: 'Used' }),
      gauges(usage.own),
      make('h3', { text: 'Latest' }),
      costs(usage),
      ...(alone ? [] : everybody(usage)),
    );
  } catch (error) {
    paint(make('p', { class: 'problem', role: 'alert', text: error.message }));
  }
};

sheet.addEventListener('click', (event) => {
  if (event.target === sheet) close();
});
window.addEventListener('atelier:account', () => {
  if (!sheet.isConnected) document.querySelector('.gradio-container').append(sheet);
  sheet.showModal();
  fill();
});
