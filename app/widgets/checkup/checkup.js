const { make, get, tell } = atelier;
const root = element.querySelector('.checkup'),
  list = root.querySelector('.findings'),
  verdict = root.querySelector('.verdict');
const LEVELS = ['blocks', 'warns', 'hints'];
let asked = 0,
  answered = '';

const press = {
  add: () => tell('add-files'),
  select: (finding) => tell('select-pictures', finding.pictures),
  captions: (finding) => tell('apply-captions', { captions: finding.captions, said: `${finding.button}: done.` }),
};
const row = (finding) =>
  make(
    'li',
    {},
    make('i', { class: `dot ${finding.level}` }),
    make('p', {}, make('b', { text: finding.title }), document.createTextNode(finding.detail)),
    make('button', {
      type: 'button',
      class: 'button small',
      text: finding.button,
      onclick: () => press[finding.remedy](finding),
    }),
  );

const show = (findings) => {
  const worst = LEVELS.find((level) => findings.some((finding) => finding.level === level)) || 'fine';
  const grave = findings.filter((finding) => finding.level !== 'hints').length;
  root.classList.toggle('fine', !findings.length);
  root.querySelector('summary .dot').className = `dot ${worst}`;
  verdict.textContent =
    worst === 'fine'
      ? 'Ready to train'
      : worst === 'blocks'
        ? 'This can’t be trained on yet'
        : worst === 'hints'
          ? 'Ready to train, with room to improve'
          : grave === 1
            ? 'Ready to train; one thing to look at'
            : `Ready to train; ${grave} things to look at`;
  list.replaceChildren(...findings.map(row));
};

// It has its place from the start, so that the pictures beneath it don't move when the answer comes.
const begin = () => {
  root.hidden = false;
  root.classList.add('fine');
  root.querySelector('summary .dot').className = 'dot';
  verdict.textContent = 'Looking the pictures over…';
};
const hide = () => {
  root.hidden = true;
  answered = '';
  list.replaceChildren();
};

// What was asked last is what is shown, whichever answer comes first.
const look = async () => {
  const id = atelier.opened_dataset(),
    number = (asked += 1);
  if (!id) {
    hide();
    return;
  }
  if (root.hidden) begin();
  const query = new URLSearchParams(props.value);
  try {
    const { findings } = await get(`/api/datasets/${id}/checkup?${query}`);
    const now = JSON.stringify(findings);
    // Drawn again, a list would take the focus off its buttons.
    if (number === asked && now !== answered) {
      answered = now;
      show(findings);
    }
  } catch {
    if (number === asked) hide(); // the grid says what is wrong
  }
};

window.addEventListener('atelier:pictures', look);
window.addEventListener('atelier:captions-saved', look);
window.addEventListener('atelier:dataset', (event) => {
  if (!event.detail) look();
});
watch('value', () => {
  tell('setup', props.value);
  look();
});
// The grid may have come before, or come later and ask.
window.addEventListener('atelier:which-setup', () => tell('setup', props.value));
tell('setup', props.value);
look();
