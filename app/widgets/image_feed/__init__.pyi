"""The feed beside the prompt: one block for each press of Generate, newest first, kept up to date."""

from app.widgets import Widget

class ImageFeed(Widget):
    """Needs a server function `start(wishes)` that answers with {"run_id"} or {"error"}; its value is not used."""
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component
