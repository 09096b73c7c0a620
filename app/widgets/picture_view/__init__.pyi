"""One picture, large, with everything known of it and everything that can be done with it."""

from app.widgets import Widget

from gradio.events import Dependency

class PictureView(Widget):
    """Opens on the window's event 'atelier:picture' {ids, at, near_end}; triggers 'reuse' with {"image_id"}.

    It stands beside the tabs: a dialog inside a hidden tab would stay hidden.
    """
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component