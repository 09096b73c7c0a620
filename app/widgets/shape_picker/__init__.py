"""The shapes a base model draws, each with its outline and its size."""

from typing import Any

import gradio as gr

from app.widgets import widget
from backend.contract import BaseModelSpec


def shape_picker(spec: BaseModelSpec) -> gr.HTML:
    """Return the picker with a base model's shapes. Its value: see `shape_value`."""
    return widget("shape_picker", shape_value(spec))


def shape_value(spec: BaseModelSpec, width: int = 0, height: int = 0) -> dict[str, Any]:
    """Return the value that shows a base model's shapes and has one chosen: this size, or the usual one."""
    chosen = {"width": width or spec.generation.width, "height": height or spec.generation.height}
    return {"sizes": [size.model_dump() for size in spec.sizes], **chosen}
