"""The lines that the diffusers engine and its child process write to each other: JSON, one message a line."""

from pathlib import Path
from typing import Literal

from backend.contract import Message
from workers.image_generation.engines import Drawing

# What the child says stands between lines that its libraries write.
MARK = "@atelier "

Failure = Literal["engine", "lora", "out of memory", "weights"]


class Order(Message):
    """What the child is to do. It draws one drawing at a time, and leaves on 'bye' or when its input ends."""

    do: Literal["draw", "cancel", "bye"]
    drawing: Drawing | None = None


class Said(Message):
    """What the child says. Each drawing ends with one of 'done', 'cancelled' and 'failed'."""

    event: Literal["loading", "generating", "step", "preview", "picture", "done", "cancelled", "failed"]
    step: int = 0  # of the picture that is being made
    index: int = 0
    path: Path | None = None
    sampler: str = ""
    failure: Failure = "engine"
    message: str = ""
    hint: str = ""

    @property
    def ends(self) -> bool:
        """Whether the child waits for orders again."""
        return self.event in ("done", "cancelled", "failed")
