"""The pictures of a dataset with their captions, edited in place and saved as they are typed."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.widgets import widget


def caption_grid(save_captions: Callable[..., Any]) -> gr.HTML:
    """Return the grid; its value is `Views.dataset` or None.

    Its script calls `save_captions({"dataset_id": …, "captions": {content hash: text}})`, which answers with {} or
    {"error": sentence}.
    """
    return widget("caption_grid", server_functions=[save_captions])
