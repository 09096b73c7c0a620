"""Changes to many captions at once, each of which can be taken back."""

import gradio as gr

from app.widgets import widget
from backend.datasets.captioner import Captioner


def caption_tools(captioner: Captioner) -> gr.HTML:
    """Return the tools. They work on the pictures that the caption grid says are chosen."""
    described_by = {"model": captioner.model, "where": captioner.where, "missing": captioner.missing}
    return widget("caption_tools", described_by)
