"""A sentence beside a button: what went wrong, or what is missing."""

import gradio as gr

from app.widgets import widget


def message(identifier: str) -> gr.HTML:
    """Return an empty message. Handlers set its value to `said(…)`; scripts know it by its identifier."""
    return widget("message", said(identifier), elem_id=f"{identifier}-message")


def said(identifier: str, text: str = "") -> dict[str, str]:
    """Return the value that shows a sentence, or none."""
    return {"id": identifier, "text": text}
