"""A PNG dropped anywhere on the Gallery: how it was made, offered to the Generate form."""

import gradio as gr

from app.widgets import widget


def png_drop() -> gr.HTML:
    """Return the place to drop on, which shows itself only then; 'atelier:choose-png' opens a file picker instead.

    Triggers 'reuse' with {"settings", "part"}.
    """
    return widget("png_drop")
