"""Pages without Gradio, for whoever isn't in the studio yet: signing in, being refused, and what is missing."""

from html import escape
from string import Template
from typing import Literal

from starlette.responses import HTMLResponse

from backend.base_models import ASSETS

_FOLDER = ASSETS / "theme"
Form = Literal["", "password", "huggingface", "sign_out"]


def own_page(title: str, sentence: str, status: int, *, form: Form = "") -> HTMLResponse:
    """Return a small page that needs no script."""
    page = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
    fields = (_FOLDER / f"page_{form}.html").read_text(encoding="utf-8") if form else ""
    shown = page.substitute(title=escape(title), sentence=escape(sentence), form=fields)
    return HTMLResponse(shown, status, headers={"cache-control": "no-store"})
