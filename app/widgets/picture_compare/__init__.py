"""Two pictures against each other: one over the other behind a slider, side by side, or what differs between them."""

import gradio as gr

from app.widgets import widget


def picture_compare() -> gr.HTML:
    """Return the dialog. It opens on the window's event 'atelier:compare-pictures' with the ids of two pictures.

    It stands beside the tabs: a dialog inside a hidden tab would stay hidden.
    """
    return widget("picture_compare")
