"""The widgets: what Gradio has no component for. Each is a folder with one function, its html, css and js.

A widget's html is fixed and its script fills it in, so text from people never passes through a template.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

_FOLDER = Path(__file__).parent


def widget(
    name: str, value: Any = None, *, server_functions: list[Callable[..., Any]] | None = None, **options: Any
) -> gr.HTML:
    """Return the component whose html and js lie in the folder `name`; its css is one of `stylesheets`.

    A subclass of gr.HTML would be more usual, but Gradio writes a stub file beside each when it is imported.
    """
    return gr.HTML(
        value,
        html_template=(_FOLDER / name / f"{name}.html").read_text(encoding="utf-8"),
        js_on_load=_script(name),
        apply_default_css=False,
        server_functions=server_functions,
        **options,
    )


def _script(name: str) -> str:
    """Return a widget's script. One that is long lies in several files; the one with the widget's name comes last."""
    parts = sorted((_FOLDER / name).glob("*.js"), key=lambda path: (path.stem == name, path.stem))
    return "\n".join(path.read_text(encoding="utf-8") for path in parts)


def stylesheets() -> list[Path]:
    """Return the css of every widget. It is loaded with the page: scoped css could say nothing of the dark theme."""
    return sorted(_FOLDER.glob("*/*.css"))
