"""The bar at the top: name, what is going on, light or dark."""

from app.widgets import Widget


class TopBar(Widget):
    """Asks for the trainings by itself. Setting its value to {"run_id": …} opens that run: it is always there to do so."""
