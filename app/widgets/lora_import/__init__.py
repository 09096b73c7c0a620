"""Where LoRA files from elsewhere are dropped or picked, and sent one after the other."""

import gradio as gr

from app.widgets import widget


def lora_import(max_bytes: int) -> gr.HTML:
    """Return the zone. It tells the window 'atelier:loras-changed', and opens its picker on 'atelier:import-loras'."""
    return widget("lora_import", {"max_bytes": max_bytes})
