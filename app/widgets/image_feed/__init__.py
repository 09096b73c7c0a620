"""The feed beside the prompt: one block for each press of Generate, newest first, kept up to date."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.widgets import widget


def image_feed(start: Callable[..., Any]) -> gr.HTML:
    """Return the feed. Its script calls `start(wishes)`, which answers with {"run_id"} or {"error": sentence}."""
    return widget("image_feed", server_functions=[start])
