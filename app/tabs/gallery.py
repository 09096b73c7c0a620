"""The Gallery tab: every picture, newest first."""

from app.widgets.gallery_wall import gallery_wall


def build() -> None:
    """Build the tab. The wall asks the app's routes for what it shows."""
    gallery_wall()
