"""What is looked for in the gallery: words, LoRA, base model, shape, date, favourites; and how the wall is laid."""

import gradio as gr

from app.widgets import widget


def gallery_bar() -> gr.HTML:
    """Return the bar. It writes what is wanted into the address, and says 'atelier:wanted' when that has changed."""
    return widget("gallery_bar")
