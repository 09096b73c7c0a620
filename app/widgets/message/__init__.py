"""A sentence beside a button: what went wrong, or what is missing."""

from app.widgets import Widget


class Message(Widget):
    """Its value: {"id": what scripts know it by, "text": the sentence or ''}."""


def said(identifier: str, text: str = "") -> dict[str, str]:
    """Return the value that shows a sentence."""
    return {"id": identifier, "text": text}
