// Keys that work on every tab, and presses from before what they are for is there.
{
  const { current_tab } = atelier;
  const LATE_MS = 10000;

  // Presses of Generate from before the feed is there, which it takes up when it comes.
  const early_presses = [];
  const generate = (wishes) => early_presses.push(wishes);
  // What Gradio hasn't put on the page yet is waited for: no press is lost.
  const press = (selector, until = performance.now() + LATE_MS) => {
    const button = document.querySelector(selector);
    if (button) button.click();
    else if (performance.now() < until) setTimeout(press, 50, selector, until);
  };
  const writes = (node) => node.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(node.tagName);
  document.addEventListener('keydown', (event) => {
    const command = event.metaKey || event.ctrlKey;
    if (command && event.key === 'Enter' && current_tab() === 'generate') {
      event.preventDefault();
      press(document.body.dataset.mode === 'compare' ? '#draw-grid' : '#generate');
    }
    // As on most sites: a slash goes to what is searched with.
    if (
      event.key === '/' &&
      !command &&
      !event.altKey &&
      !writes(event.target) &&
      !document.querySelector('dialog[open]')
    ) {
      const search = document.querySelector(`#tab-${current_tab()} input[type=search]:not([hidden])`);
      if (!search) return;
      event.preventDefault();
      search.focus();
      search.select();
    }
  });

  // Arrow keys go from one to the next of what a container holds, as it lies on the screen.
  const arrow_keys = (container, selector) =>
    container.addEventListener('keydown', (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key],
        rows = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!(by || rows) || !event.target.matches(selector) || event.ctrlKey || event.metaKey || event.altKey) return;
      const all = [...container.querySelectorAll(selector)],
        top = all[0].getBoundingClientRect().top;
      const across = all.filter((each) => each.getBoundingClientRect().top === top).length;
      const next = all[all.indexOf(event.target) + (by || rows * across)];
      if (!next) return;
      event.preventDefault();
      next.focus();
    });

  // Writes into one of Gradio's text boxes as typing would.
  const type_into = (selector, text) => {
    const box = document.querySelector(selector);
    box.value = text;
    box.dispatchEvent(new Event('input', { bubbles: true }));
    box.focus();
  };

  Object.assign((window.atelier ??= {}), {
    arrow_keys,
    type_into,
    generate,
    early_presses,
  });
}
