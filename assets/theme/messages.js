// What is said to people: questions, menus, short messages, and notes while they look elsewhere.
{
  const { make } = atelier;

  // Resolves to whether the person agreed. Escape and a click beside it mean no.
  const confirm = ({ title, text, yes, no = 'Keep it', danger = true }) =>
    new Promise((resolve) => {
      const close = (answer) => {
        dialog.close();
        dialog.remove();
        resolve(answer);
      };
      const dialog = make(
        'dialog',
        { class: 'atelier-dialog', 'aria-labelledby': 'atelier-dialog-title' },
        make('h2', { id: 'atelier-dialog-title', text: title }),
        make('p', { text }),
        make(
          'div',
          { class: 'dialog-buttons' },
          make('button', { type: 'button', class: 'button', text: no, onclick: () => close(false) }),
          make('button', {
            type: 'button',
            class: `button ${danger ? 'danger' : 'primary'}`,
            text: yes,
            onclick: () => close(true),
          }),
        ),
      );
      dialog.addEventListener('cancel', (event) => {
        event.preventDefault();
        close(false);
      });
      dialog.addEventListener('click', (event) => {
        if (event.target === dialog) close(false);
      });
      document.querySelector('.gradio-container').append(dialog);
      dialog.showModal();
    });

  // A press beside a dialog closes it, as Escape does.
  const closes_beside = (dialog) =>
    dialog.addEventListener('click', (event) => {
      if (event.target === dialog) dialog.close();
    });

  // A menu closes when something else is pressed, and on Escape.
  const closing = (menu) => {
    document.addEventListener('click', (event) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
    menu.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') {
        menu.open = false;
        menu.querySelector('summary').focus();
      }
    });
    return menu;
  };

  let toast_timer;
  const toast = (text) => {
    let box = document.querySelector('.atelier-toast');
    if (!box) {
      box = make('div', { class: 'atelier-toast', role: 'status', popover: 'manual' });
      document.querySelector('.gradio-container').append(box);
    }
    // As a popover, opened last, it is seen above a dialog, too.
    box.hidePopover?.();
    box.showPopover?.();
    box.textContent = text;
    box.classList.add('shown');
    clearTimeout(toast_timer);
    toast_timer = setTimeout(() => box.classList.remove('shown'), 3200);
  };
  const copy = async (text, said) => {
    try {
      await navigator.clipboard.writeText(text);
      toast(said);
    } catch {
      toast('The browser did not allow copying.');
    }
  };
  const say = (id, sentence) => window.dispatchEvent(new CustomEvent('atelier:message', { detail: { id, sentence } }));

  // An address of storage opens its picture for two hours and more: a page that is open for longer has to ask for new ones.
  document.addEventListener(
    'error',
    (event) => {
      const { tagName, src = '' } = event.target;
      if (tagName === 'IMG' && src.includes('X-Amz-Expires=') && performance.now() > 3600e3)
        toast('This page has been open for long. Reload it to see more pictures.');
    },
    true,
  );

  // Browsers ask only in answer to a press.
  const ask_to_notify = () => {
    if (window.Notification?.permission === 'default') Notification.requestPermission();
  };
  const notify = (sentence, opened) => {
    if (!document.hidden || window.Notification?.permission !== 'granted') return;
    const note = new Notification('LoRA Atelier', { body: sentence, tag: sentence });
    note.onclick = () => {
      window.focus();
      note.close();
      opened();
    };
  };
  const NAME = 'LoRA Atelier';
  const title = (text = '') => {
    document.title = text ? `${text} · ${NAME}` : NAME;
  };

  Object.assign((window.atelier ??= {}), {
    confirm,
    closes_beside,
    copy,
    closing,
    toast,
    say,
    ask_to_notify,
    notify,
    title,
  });
}
