"""Which half of the Generate tab is seen: single pictures, or grids that compare."""

import gradio as gr

from app.widgets import widget


def generate_mode() -> gr.HTML:
    """Return the switch. The address says which half: with `grid=` it is grids, 'new' or one by its id."""
    return widget("generate_mode")
