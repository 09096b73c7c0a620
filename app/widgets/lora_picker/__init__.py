"""Chooses LoRAs to prompt with, how strongly each acts, and offers their trigger words."""

from app.widgets import Widget


class LoraPicker(Widget):
    """Its value: {"loras": [{"key", "strength"}], "architecture": the base model's, "base_model": its name}."""
