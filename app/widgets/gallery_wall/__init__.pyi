"""The wall of all pictures, newest first, and one of them large."""

from app.widgets import Widget

class GalleryWall(Widget):
    """Asks for pages as it is scrolled; its value is not used."""
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component
