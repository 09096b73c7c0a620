"""The comparing half of the Generate tab: what to compare on one side, the grids on the other."""

import gradio as gr

from app.widgets.grid_form import grid_form
from app.widgets.grid_view import grid_view


def build() -> None:
    """Build it. Its widgets ask the app's routes for what they show, and tell each other what happened."""
    with gr.Row(equal_height=False, elem_id="compare-columns"):
        with gr.Column(scale=4, min_width=320, elem_classes="rail"):
            grid_form()
        with gr.Column(scale=7, min_width=320):
            grid_view()
