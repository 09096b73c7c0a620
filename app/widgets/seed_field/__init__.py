"""The seed: typed, kept from the newest pictures, drawn anew, or one up and down. Empty means a new one each time."""

import gradio as gr

from app.widgets import widget


def seed_field() -> gr.HTML:
    """Return the field. Its value is text: JavaScript can't hold 64 bits."""
    return widget("seed_field", "", min_width=200)
