"""The pictures of the open dataset with their captions, edited in place and saved as they are typed."""

import gradio as gr

from app.widgets import widget


def caption_grid() -> gr.HTML:
    """Return the grid. It follows the dataset that is open, and reads and saves through the dataset routes."""
    return widget("caption_grid")
