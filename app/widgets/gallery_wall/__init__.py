"""The wall of pictures, newest first: only what is near the screen is on the page."""

import gradio as gr

from app.widgets import widget


def gallery_wall() -> gr.HTML:
    """Return the wall. It asks the app's routes for what the address wants, and says 'atelier:summary' with what there
    is, and 'atelier:selected' with the ids of what is selected."""
    return widget("gallery_wall")
