"""The Gallery tab: every picture, newest first; what is looked for, what is selected, and PNG files dropped on it."""

from typing import Any, NamedTuple

from app.widgets.gallery_bar import gallery_bar
from app.widgets.gallery_selection import gallery_selection
from app.widgets.gallery_wall import gallery_wall
from app.widgets.png_drop import png_drop


class GalleryTab(NamedTuple):
    """The components other parts of the page are wired to."""

    drop: Any


def build() -> GalleryTab:
    """Build the tab. Its widgets ask the app's routes for what they show."""
    gallery_bar()
    gallery_wall()
    gallery_selection()
    return GalleryTab(png_drop())
