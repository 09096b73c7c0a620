"""The feed beside the prompt: one block for each press of Generate, newest first, kept up to date."""

from app.widgets import Widget


class ImageFeed(Widget):
    """Needs a server function `start(wishes)` that answers with {"run_id"} or {"error"}; its value is not used."""
