// Leaving the page: what is not sent yet holds it. The person is asked, and Gradio is made to wait, which loads the
// page anew by itself when a server that broke off is back.
{
  const AGAIN_MS = 500;
  const reasons = []; // functions that tell whether something is still to be sent
  const hold_page = (reason) => reasons.push(reason);
  const held = () => reasons.some((reason) => reason());

  window.addEventListener('beforeunload', (event) => {
    if (held()) event.preventDefault();
  });
  // Only what scripts do can be heard here; a person's own reload is asked about above.
  window.navigation?.addEventListener('navigate', (event) => {
    if (event.navigationType !== 'reload' || !event.cancelable || !held()) return;
    event.preventDefault();
    const timer = setInterval(() => {
      if (held()) return;
      clearInterval(timer);
      location.reload();
    }, AGAIN_MS);
  });

  Object.assign((window.atelier ??= {}), { hold_page });
}
