"""Changes to many captions at once, each of which can be taken back."""

import gradio as gr

from app.widgets import widget


def caption_tools() -> gr.HTML:
    """Return the tools. They work on the pictures that the caption grid says are chosen."""
    return widget("caption_tools")
