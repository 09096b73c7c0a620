"""What the diffusers engine's child process says to its parent: one JSON line an event, everything else is log."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from backend.contract import Message, Phase, Wish

STOP = "stop\n"  # what the parent writes to make the child save and end
WISHES: dict[Wish, str] = {"save": "save\n", "sample": "sample\n"}  # and to make it do that in between
MAX_TEXT = 2000  # characters; a line longer than the pipe's buffer could be torn by another writer


class PhaseEntered(Message):
    event: Literal["phase"] = "phase"
    phase: Phase
    message: str = ""


class StepDone(Message):
    event: Literal["step"] = "step"
    step: int
    loss: float
    learning_rate: float
    seconds_per_step: float


class SampleSaved(Message):
    event: Literal["sample"] = "sample"
    step: int
    index: int
    path: Path


class CheckpointSaved(Message):
    event: Literal["checkpoint"] = "checkpoint"
    step: int
    path: Path
    state: Path


class Failed(Message):
    """The child ends after this one."""

    event: Literal["failed"] = "failed"
    error: Literal["engine", "out of memory", "weights", "invalid request"]
    message: str
    hint: str = ""


Event = PhaseEntered | StepDone | SampleSaved | CheckpointSaved | Failed
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def read_event(line: str) -> Event | None:
    """Return the event a line carries, or None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        return _EVENT.validate_json(line)
    except ValidationError:
        return None
