"""What to look at in the open dataset before training, each with the press that mends or selects it."""

from typing import Any

import gradio as gr

from app.widgets import widget


def checkup(base_model: str, resolution: list[int]) -> gr.HTML:
    """Return the check-up. Its value is `setup_value(…)`: what the pictures are to be trained with."""
    return widget("checkup", setup_value(base_model, "", resolution))


def setup_value(base_model: str, trigger_word: str, resolution: list[int]) -> dict[str, Any]:
    """Return what the check-up has to know of the set-up side."""
    return {"base_model": base_model, "trigger_word": trigger_word, "resolution": ",".join(map(str, resolution))}
