// What was being written is there again when the page is loaded anew, which Gradio does by itself when a server is back.
{
  const FIELDS = ['#lora-name', '#trigger-word', '#prompt', '#negative-prompt'];
  const KEY = 'atelier-drafts',
    LOOK_MS = 300;
  const box_of = (field) => document.querySelector(`${field} :is(input, textarea)`);
  const drafts = JSON.parse(sessionStorage.getItem(KEY) || '{}');

  window.addEventListener('pagehide', () => {
    const written = FIELDS.map((field) => [field, box_of(field)?.value ?? drafts[field] ?? '']);
    sessionStorage.setItem(KEY, JSON.stringify(Object.fromEntries(written)));
  });
  // A tab's fields come with its first opening.
  const bring_back = () => {
    for (const [field, text] of Object.entries(drafts)) {
      const box = box_of(field);
      if (text && !box) continue;
      delete drafts[field];
      if (!text || box.value) continue;
      box.value = text;
      box.dispatchEvent(new Event('input', { bubbles: true }));
    }
    if (Object.keys(drafts).length) setTimeout(bring_back, LOOK_MS);
  };
  bring_back();
}
