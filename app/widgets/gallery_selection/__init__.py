"""What can be done with the pictures that are selected on the wall."""

import gradio as gr

from app.widgets import widget


def gallery_selection() -> gr.HTML:
    """Return the bar. It shows itself when 'atelier:selected' names some pictures, and says 'atelier:deleted' and
    'atelier:liked' of what it did."""
    return widget("gallery_selection")
