"""What stands under the prompt: what was written before, by a menu or the up key."""

import gradio as gr

from app.widgets import widget


def prompt_tools() -> gr.HTML:
    """Return the tools. They write into the text box '#prompt'."""
    return widget("prompt_tools")
