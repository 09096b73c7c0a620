"""The wall of all pictures, newest first."""

from app.widgets import Widget


class GalleryWall(Widget):
    """Asks for pages as it is scrolled; its value is not used."""
