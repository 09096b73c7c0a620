// What this browser keeps. One that may keep nothing, as in a private window or in another site's frame, forgets it.
{
  const in_store = (store) => ({
    get: (name) => {
      try {
        return window[store].getItem(`atelier-${name}`);
      } catch {
        return null;
      }
    },
    set: (name, text) => {
      try {
        window[store].setItem(`atelier-${name}`, text);
      } catch {
        /* forgotten */
      }
    },
  });

  Object.assign((window.atelier ??= {}), {
    kept: in_store('localStorage'), // for the next visit
    kept_in_tab: in_store('sessionStorage'), // until the tab is closed
  });
}
