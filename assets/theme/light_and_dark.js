// Light and dark: what a person chose goes before what the system says.
{
  // Gradio follows the system by itself; what a person chose here goes before that, now and next time.
  const { kept } = atelier;
  const apply = () => {
    const want = kept.get('theme');
    if (want && document.body && document.body.classList.contains('dark') !== (want === 'dark')) {
      document.body.classList.toggle('dark', want === 'dark');
    }
  };
  const toggle_theme = () => {
    const next = document.body.classList.contains('dark') ? 'light' : 'dark';
    kept.set('theme', next);
    document.body.classList.toggle('dark', next === 'dark');
  };
  const watch_theme = () => {
    apply();
    new MutationObserver(apply).observe(document.body, { attributes: true, attributeFilter: ['class'] });
  };
  document.body ? watch_theme() : document.addEventListener('DOMContentLoaded', watch_theme);

  Object.assign((window.atelier ??= {}), {
    toggle_theme,
  });
}
