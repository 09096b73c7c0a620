"""A training's page: phases, progress, loss, samples, checkpoints, log, and what can be done about it."""

import gradio as gr

from app.widgets import widget


def run_card() -> gr.HTML:
    """Return the page of the run named in the address.

    Triggers 'prompt_lora' with {"key", "base_model", "trigger_word"}, and 'clone' with {"run_id"}.
    """
    return widget("run_card")
