// On a phone the feed lies below the form: a button at the thumb says what goes on there, and leads to it.
const below_button = (root) => {
  const button = root.querySelector('.below'),
    NEAR = 160; // pixels of the feed that have to be seen
  let going = 0,
    fresh = 0;
  const paint = () => {
    const away = root.getBoundingClientRect().top > innerHeight - NEAR;
    if (!away && root.offsetParent) fresh = 0;
    button.hidden = !away || !(going || fresh);
    button.textContent = going ? `↓ ${going} in progress` : `↓ ${fresh} new ${fresh === 1 ? 'picture' : 'pictures'}`;
  };
  button.addEventListener('click', () => {
    root.scrollIntoView({ behavior: 'smooth' });
    root.querySelector('article button')?.focus({ preventScroll: true });
  });
  window.addEventListener('scroll', paint, { passive: true });
  window.addEventListener('resize', paint);
  return {
    at_work: (count) => {
      going = count;
      // Asked for at once, where it lies would hold up what a press has just put there.
      requestAnimationFrame(paint);
    },
    drawn: (pictures) => {
      fresh += pictures;
    },
  };
};
