"""All LoRAs as cards, kept up to date while they are seen."""

import gradio as gr

from app.widgets import widget


def lora_shelf() -> gr.HTML:
    """Return the shelf, which asks the app's routes for what it shows.

    A card tells the window 'atelier:lora' with {lora_id, lora, run_id, library} to have it opened.
    """
    return widget("lora_shelf")
