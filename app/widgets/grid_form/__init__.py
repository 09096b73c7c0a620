"""What to compare: up to three things to vary, and what all cells have in common."""

import gradio as gr

from app.widgets import widget


def grid_form() -> gr.HTML:
    """Return the form. It asks the routes what can be compared and what it would take, and opens the grid it started.

    `checkpoints=` in the address names a training whose checkpoints are to be compared.
    """
    return widget("grid_form")
