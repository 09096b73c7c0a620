"""One picture, large, with everything known of it and everything that can be done with it."""

import gradio as gr

from app.widgets import widget


def picture_view() -> gr.HTML:
    """Return the view. It opens on the window's event 'atelier:picture' with {ids, at}.

    Who opens it may add `thumb_of`, what a picture looks like until more is known of it; a wall `near_end`, a function
    that asks for more; a grid `captions`, the `places` of its pictures and how many lie `across`.
    Triggers 'reuse' with {"image_id", "part"}. It stands beside the tabs: a dialog inside a hidden tab would stay
    hidden.
    """
    return widget("picture_view")
