"""The list of trainings, newest first, kept up to date while it is seen."""

import gradio as gr

from app.widgets import widget


def run_list() -> gr.HTML:
    """Return the list, which asks the app's routes for what it shows."""
    return widget("run_list")
