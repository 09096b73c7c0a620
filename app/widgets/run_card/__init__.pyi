"""A training's page: phases, progress, loss, samples, checkpoints, log, and what can be done about it."""

from app.widgets import Widget

class RunCard(Widget):
    """Shows the run named in the address. Triggers 'prompt_lora' with {"key", "base_model", "trigger_word"}."""
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component
