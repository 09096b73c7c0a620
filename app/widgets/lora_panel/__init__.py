"""One LoRA with everything known of it and everything that can be done with it; or a training's checkpoints alone."""

import gradio as gr

from app.widgets import widget


def lora_panel() -> gr.HTML:
    """Return the panel. It opens on the window's event 'atelier:lora' with {lora_id} or {run_id}.

    Triggers 'prompt_lora' with {"key", "base_model", "trigger_word"}; tells the window 'atelier:publish'.
    """
    return widget("lora_panel")
