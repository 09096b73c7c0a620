"""One grid with its cells as they fill, or the list of all grids."""

import gradio as gr

from app.widgets import widget


def grid_view() -> gr.HTML:
    """Return the view. It shows the grid that the window's event 'atelier:grid' names, else the list of all."""
    return widget("grid_view")
