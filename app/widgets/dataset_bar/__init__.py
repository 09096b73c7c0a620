"""Which dataset is open, and what can be done to it as a whole: rename, duplicate, download, delete."""

import gradio as gr

from app.widgets import widget


def dataset_bar() -> gr.HTML:
    """Return the bar. It triggers 'choose' with {"dataset_id"}; its value, {"dataset_id"}, opens one from here."""
    return widget("dataset_bar", {"dataset_id": ""})
