"""Pages without Gradio, for whoever isn't in the studio yet: signing in, being refused, and what is missing."""

from html import escape
from string import Template
from typing import Literal

from starlette.responses import HTMLResponse

from backend.base_models import ASSETS

_FOLDER = ASSETS / "theme"
Form = Literal["", "password", "huggingface", "sign_out"]


def own_page(title: str, sentence: str, status: int, *, form: Form = "", query: str = "") -> HTMLResponse:
    """Return a small page that needs no script. `query` says what of the studio to open after signing in."""
    template = (_FOLDER / f"page_{form}.html").read_text(encoding="utf-8") if form else ""
    fields = Template(template).substitute(query=escape(f"?{query}" if query else ""))
    return _shown(title, sentence, status, fields, "narrow")


def wide_page(title: str, content: str, status: int) -> HTMLResponse:
    """Return a page with room for more than a form; `content` is HTML."""
    return _shown(title, "", status, content, "wide")


def _shown(title: str, sentence: str, status: int, content: str, width: Literal["narrow", "wide"]) -> HTMLResponse:
    page = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
    shown = page.substitute(title=escape(title), sentence=escape(sentence), form=content, width=width)
    return HTMLResponse(shown, status, headers={"cache-control": "no-store"})
