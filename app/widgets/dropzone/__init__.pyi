"""Where files are dropped or picked, and the invitation to try the sample pictures."""

from app.widgets import Widget

class Dropzone(Widget):
    """Hands files to the gr.File whose id is in `value["target"]`; triggers 'sample'.

    Its value: {"target": element id, "max_bytes": a file, "compact": whether there are pictures already,
    "refused": [{"name", "reason"}], "note": what came of the last files}.
    """
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component
