"""Publishing a LoRA on the Hugging Face Hub: chosen pictures, a preview of what would go, and how far it has got."""

import gradio as gr

from app.widgets import widget


def lora_publish() -> gr.HTML:
    """Return the dialog. It opens on the window's event 'atelier:publish' with {lora, samples, pictures}."""
    return widget("lora_publish")
