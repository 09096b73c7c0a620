"""The widgets: what Gradio has no component for. Each is a folder with one class, its html, css and js.

A widget's html is fixed and its script fills it in, so text from people never passes through a template.
"""

import inspect
from pathlib import Path
from typing import Any

import gradio as gr

_FOLDER = Path(__file__).parent

class Widget(gr.HTML):  # type: ignore[misc]
    """A gr.HTML whose html and js lie beside its class; its css is one of `stylesheets`."""

    def __init__(self, value: Any = None, **options: Any) -> None:
        folder = Path(inspect.getfile(type(self))).parent
        super().__init__(
            value,
            html_template=(folder / f"{folder.name}.html").read_text(encoding="utf-8"),
            js_on_load=(folder / f"{folder.name}.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            **options,
        )

    def postprocess(self, value: Any) -> Any:
        """Hand the value to the script as it is."""
        return value

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

def stylesheets() -> list[Path]:
    """Return the css of every widget. It is loaded with the page: scoped css could say nothing of the dark theme."""
    return sorted(_FOLDER.glob("*/*.css"))
