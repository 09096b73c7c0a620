// What was being written is there again when the page is loaded anew, which Gradio does by itself when a server is back.
{
  const { kept_in_tab } = atelier;
  const FIELDS = ['#lora-name', '#trigger-word', '#prompt', '#negative-prompt'];
  const LOOK_MS = 300;
  const box_of = (field) => document.querySelector(`${field} :is(input, textarea)`);
  const drafts = JSON.parse(kept_in_tab.get('drafts') || '{}');

  window.addEventListener('pagehide', () => {
    const written = FIELDS.map((field) => [field, box_of(field)?.value ?? drafts[field] ?? '']);
    kept_in_tab.set('drafts', JSON.stringify(Object.fromEntries(written)));
  });
  // A tab's fields come with its first opening, and Gradio may empty one once more while it builds the page: each is
  // looked at until it has kept its text, or got another.
  const bring_back = () => {
    for (const [field, text] of Object.entries(drafts)) {
      const box = box_of(field);
      if (!text || box?.value) delete drafts[field];
      else if (box) {
        box.value = text;
        box.dispatchEvent(new Event('input', { bubbles: true }));
      }
    }
    if (Object.keys(drafts).length) setTimeout(bring_back, LOOK_MS);
  };
  bring_back();
}
