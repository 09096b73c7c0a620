// Where somebody is: the tab, and what is open on it. The address says it, and going there is one call.
{
  const tell = (event, detail) => window.dispatchEvent(new CustomEvent(`atelier:${event}`, { detail }));

  const TABS = ['train', 'runs', 'loras', 'generate', 'gallery'];
  const parameters = () => new URLSearchParams(location.search);
  const address = (changes, replace = false) => {
    const query = parameters();
    for (const [name, value] of Object.entries(changes)) value ? query.set(name, value) : query.delete(name);
    const target = `${location.pathname}?${query}`;
    if (target === location.pathname + location.search) return;
    history[replace ? 'replaceState' : 'pushState']({}, '', target);
  };
  const current_tab = () =>
    TABS.find((tab) => document.getElementById(`tab-${tab}-button`)?.getAttribute('aria-selected') === 'true');
  const open_tab = (tab) => {
    if (current_tab() !== tab) document.getElementById(`tab-${tab}-button`)?.click();
  };
  const at_tab = (tab) => {
    address({
      tab,
      run: tab === 'runs' ? parameters().get('run') : '',
      lora: tab === 'loras' ? parameters().get('lora') : '',
      grid: tab === 'generate' ? parameters().get('grid') : '',
    });
    window.dispatchEvent(new CustomEvent('atelier:tab', { detail: tab }));
    if (tab === 'generate')
      setTimeout(() => document.querySelector('#prompt textarea')?.focus({ preventScroll: true }), 60);
    window.scrollTo({ top: 0 });
  };
  const open_run = (run_id) => {
    address({ tab: 'runs', run: run_id });
    window.dispatchEvent(new CustomEvent('atelier:run', { detail: run_id }));
    open_tab('runs');
  };
  // The same as the link `?grid=new&checkpoints=<run>`: a grid of a training's checkpoints, ready to be drawn.
  const compare_checkpoints = (run_id) => {
    address({ tab: 'generate', run: '', lora: '', grid: 'new', checkpoints: run_id });
    if (current_tab() === 'generate') tell('grid', 'new');
    else open_tab('generate');
  };
  // A tab's widgets come with its first opening and read the address; those that are there already are told.
  const open_lora = (lora_id) => {
    address({ tab: 'loras', lora: lora_id });
    open_tab('loras');
    tell('lora', { lora_id });
  };
  const find_pictures = (wanted) => {
    address({ tab: 'gallery', q: '', with: '', base: '', shape: '', when: '', liked: '', ...wanted });
    tell('find');
    open_tab('gallery');
  };
  // However a tab came to be chosen, the address follows; at first the tab follows the address.
  let at;
  const follow_tabs = () => {
    const bar = document.querySelector('#nav [role=tablist]');
    if (!bar || !document.getElementById('tab-gallery-button')) {
      requestAnimationFrame(follow_tabs);
      return;
    }
    at = current_tab();
    const wanted =
      parameters().get('tab') || (parameters().get('run') ? 'runs' : parameters().get('grid') ? 'generate' : '');
    if (TABS.includes(wanted)) open_tab(wanted);
    new MutationObserver(() => {
      const now = current_tab();
      if (now && now !== at) {
        at = now;
        at_tab(now);
      }
    }).observe(bar, { attributes: true, attributeFilter: ['aria-selected'], subtree: true });
  };
  follow_tabs();
  window.addEventListener('popstate', () => {
    const tab = parameters().get('tab');
    if (TABS.includes(tab)) open_tab(tab);
    window.dispatchEvent(new CustomEvent('atelier:run', { detail: parameters().get('run') || '' }));
  });

  // The dataset on the Train tab. Widgets come to the page in any order: who comes late asks, the others hear
  // 'atelier:dataset'.
  let dataset_id = '';
  const opened_dataset = () => dataset_id;
  const open_dataset = (id) => {
    dataset_id = id;
    tell('dataset', id);
  };

  Object.assign((window.atelier ??= {}), {
    tell,
    parameters,
    address,
    current_tab,
    open_tab,
    open_run,
    open_lora,
    find_pictures,
    compare_checkpoints,
    opened_dataset,
    open_dataset,
  });
}
