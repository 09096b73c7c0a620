"""The list of trainings, newest first, kept up to date while it is seen."""

from app.widgets import Widget

class RunList(Widget):
    """It asks the app's routes for what it shows; its value is not used."""
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component
