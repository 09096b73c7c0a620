const { make, closing, type_into } = atelier;
const root = element.querySelector('.prompt-tools'), menu = closing(root.querySelector('.earlier')), choices = menu.querySelector('.choices');
menu.addEventListener('toggle', () => {
  if (!menu.open) return;
  const prompts = earlier_prompts('');
  choices.replaceChildren(...prompts.map(prompt => make('button', { type: 'button', text: prompt, onclick: () => { menu.open = false; type_into(PROMPT, prompt); } })));
  if (!prompts.length) choices.append(make('p', { text: 'Nothing has been generated yet.' }));
});
