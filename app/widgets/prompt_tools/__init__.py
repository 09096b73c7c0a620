"""What stands under the prompt: what was written before, the styles to write it in, and the lists of its wildcards."""

from typing import Any

import gradio as gr

from app.widgets import widget


def prompt_tools() -> gr.HTML:
    """Return the tools, which write into the text box '#prompt'. Their value: see `styles_value`."""
    return widget("prompt_tools", styles_value())


def styles_value(*styles: str) -> dict[str, Any]:
    """Return the value that has these styles chosen, by their names."""
    return {"styles": list(styles)}
