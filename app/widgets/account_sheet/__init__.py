"""The sheet behind the top bar's person: who is signed in, what they have used, and the way out."""

import gradio as gr

from app.widgets import widget


def account_sheet() -> gr.HTML:
    """Return the sheet, which asks the app's routes for what it shows each time it is opened."""
    return widget("account_sheet", elem_classes="away")
