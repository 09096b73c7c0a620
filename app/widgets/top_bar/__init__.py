"""The bar at the top: name, what is going on, light or dark."""

import gradio as gr

from app.widgets import widget


def top_bar() -> gr.HTML:
    """Return the bar, which asks for the trainings by itself.

    Setting its value to {"run_id": …} opens that run: the bar is always there to do so, a tab's widgets are not.
    """
    return widget("top_bar", elem_id="top-bar")
