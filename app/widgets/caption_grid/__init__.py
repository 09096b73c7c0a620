"""The pictures of a dataset with their captions, edited in place and saved as they are typed."""

from app.widgets import Widget


class CaptionGrid(Widget):
    """Its value is `Views.dataset` or None. Needs a server function `save_captions({"dataset_id", "captions"})`."""
