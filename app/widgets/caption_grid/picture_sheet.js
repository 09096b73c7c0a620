// One picture large, with its caption: to write caption after caption, and to see what is cut off at each resolution.
const picture_sheet = ({ shown, figures, captions, write, crops }) => {
  const { make } = atelier;
  const open = (sha256, resolution) => {
    const image = make('img', { alt: '' }),
      picture = make('div', { class: 'whole-picture' }, image);
    const text = make('textarea', {
      class: 'entry',
      rows: 3,
      maxlength: 2000,
      spellcheck: 'false',
      placeholder: 'Describe this picture',
    });
    const title = make('h2'),
      facts = make('span', { class: 'facts' });
    const place = make(
      'select',
      { class: 'crop-choice', 'aria-label': 'Crop' },
      make('option', { value: '', text: 'No crop' }),
      ...(crops()?.resolutions ?? []).map((each) => make('option', { value: each, text: `Crop at ${each}` })),
    );
    const step = (label, arrow, by) =>
      make('button', {
        type: 'button',
        class: 'button',
        'aria-label': label,
        title: label,
        text: arrow,
        onclick: () => go(by),
      });
    const back = step('Previous picture', '←', -1),
      on = step('Next picture', '→', 1);

    const draw = () => {
      const { called, width, height } = figures.get(sha256).dataset,
        order = shown(),
        at = order.indexOf(sha256);
      const crop = crops()?.crops[sha256]?.[crops().resolutions.indexOf(Number(place.value))];
      picture.querySelector('.crop')?.remove();
      picture.style.aspectRatio = `${width} / ${height}`;
      if (image.dataset.sha256 !== sha256) {
        image.dataset.sha256 = sha256;
        image.src = `/api/datasets/${atelier.opened_dataset()}/pictures/${sha256}`;
        text.value = captions.get(sha256);
      }
      image.alt = called;
      if (crop) picture.append(crop_box(crop));
      title.textContent = called;
      facts.textContent = `${width} × ${height} · ${(at + 1).toLocaleString()} of ${order.length.toLocaleString()}`;
      text.setAttribute('aria-label', `Caption for ${called}, large`);
      back.disabled = at <= 0;
      on.disabled = at >= order.length - 1;
    };
    const go = (by) => {
      const order = shown(),
        next = order[order.indexOf(sha256) + by];
      if (!next) return;
      sha256 = next;
      draw();
    };
    const dialog = make(
      'dialog',
      { class: 'atelier-dialog picture-sheet', 'aria-label': 'One picture and its caption' },
      make('div', { class: 'sheet-head' }, title, facts),
      make('div', { class: 'around' }, picture),
      text,
      make(
        'div',
        { class: 'dialog-buttons' },
        back,
        on,
        place,
        make('small', { class: 'keys', text: 'Enter for the next picture' }),
        make('button', { type: 'button', class: 'button primary', text: 'Close', onclick: () => dialog.close() }),
      ),
    );
    place.value = resolution;
    place.addEventListener('change', draw);
    text.addEventListener('input', () => write(sha256, text.value));
    dialog.addEventListener('keydown', (event) => {
      if (event.target === place || event.isComposing) return;
      const by =
        event.target === text
          ? { Enter: event.shiftKey ? -1 : 1 }[event.key]
          : { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      go(by);
    });
    dialog.addEventListener('click', (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener('close', () => {
      dialog.remove();
      figures.get(sha256)?.querySelector('textarea').focus();
    });
    document.querySelector('.gradio-container').append(dialog);
    draw();
    dialog.showModal();
    text.focus();
  };
  return { open };
};
