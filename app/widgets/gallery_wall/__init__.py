"""The wall of all pictures, newest first."""

import gradio as gr

from app.widgets import widget


def gallery_wall() -> gr.HTML:
    """Return the wall, which asks the app's routes for more as it is scrolled."""
    return widget("gallery_wall")
