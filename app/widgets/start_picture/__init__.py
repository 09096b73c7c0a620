"""The picture that others start from: from a file, dropped, pasted, or out of the gallery; and how much is redrawn."""

from typing import Any

import gradio as gr

from app.widgets import widget

DENOISE = 0.6  # what the slider begins with


def start_picture() -> gr.HTML:
    """Return the slot, empty at first. Its value: see `start_value`; "pending" is true while a file is on its way."""
    return widget("start_picture", start_value())


def start_value(
    key: str = "", url: str = "", width: int = 0, height: int = 0, denoise: float = DENOISE
) -> dict[str, Any]:
    """Return the value that shows a picture in the slot; without a key the slot is empty."""
    return {"key": key, "url": url, "width": width, "height": height, "denoise": denoise, "pending": False}
