"""Chooses LoRAs to prompt with, how strongly each acts, and offers their trigger words."""

from typing import Any

import gradio as gr

from app.widgets import widget


def lora_picker(value: dict[str, Any]) -> gr.HTML:
    """Return the picker, which asks the app's routes for what there is to choose.

    Its value: {"loras": [{"key", "strength"}], "architecture": the base model's, "base_model": its name}.
    """
    return widget("lora_picker", value)
