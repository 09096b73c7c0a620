"""The LoRAs tab: every LoRA there is, what a person says of each, and what may be done with it."""

from typing import Any, NamedTuple

from app.widgets.lora_import import lora_import
from app.widgets.lora_panel import lora_panel
from app.widgets.lora_publish import lora_publish
from app.widgets.lora_shelf import lora_shelf
from backend.studio import Studio


class LorasTab(NamedTuple):
    """The components other parts of the page are wired to."""

    panel: Any


def build(studio: Studio) -> LorasTab:
    """Build the tab. Its widgets ask the app's routes for what they show, and tell each other what happened."""
    lora_import(studio.loras.max_bytes)
    lora_shelf()
    panel = lora_panel()
    lora_publish()
    return LorasTab(panel)
