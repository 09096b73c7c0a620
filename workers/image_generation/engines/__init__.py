"""What an image engine is given, what it says while it draws, and what it hands back.

An engine sees local folders, a Drawing and a Watch; storage and RunPod are the business of `generate.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from backend.contract import BaseModelSpec, Message, Seed


class LoraInUse(Message):
    """A LoRA file on this machine and how strongly it acts. `content_hash` names its content, `name` is for people."""

    path: Path
    name: str
    content_hash: str
    strength: float


class PictureToDraw(Message):
    """One picture of a drawing: its place in the run, its seed, and its words where they are its own."""

    index: int
    seed: Seed
    prompt: str | None = None


class Drawing(Message):
    """Pictures to make from one prompt. `folder` is the run's own; the engine writes its pictures there."""

    spec: BaseModelSpec
    weights: Path  # a folder in Hugging Face snapshot layout
    folder: Path
    prompt: str
    negative_prompt: str  # empty for a base model that takes none
    width: int  # pixels
    height: int
    steps: int
    guidance: float
    loras: list[LoraInUse]
    init_image: Path | None = None  # a picture of the asked size to start from
    denoise: float = 1.0  # how much of it is drawn anew; the steps are all done, however little that is
    pictures: list[PictureToDraw]

    def prompt_of(self, index: int) -> str:
        """Return the words of the picture with this index: its own, else the drawing's."""
        own = next((picture.prompt for picture in self.pictures if picture.index == index), None)
        return self.prompt if own is None else own


@dataclass(frozen=True)
class Picture:
    """A finished picture: a lossless file that Pillow opens, and what the engine wants the file to carry."""

    index: int
    seed: int
    path: Path
    sampler: str  # by the name that other tools know it by: 'Euler'
    texts: Mapping[str, str] = field(default_factory=dict)  # by the name of their PNG chunk


class Watch(Protocol):
    """Who follows a drawing. Called on the event loop; each call returns at once."""

    def loading(self) -> None:
        """The base model is being loaded."""

    def generating(self) -> None:
        """Everything is loaded; the steps begin."""

    def step(self, step: int, steps: int) -> None:
        """So many of the steps of all pictures together are done; at most five times a second."""

    def picture(self, picture: Picture) -> None:
        """A picture is finished. Its file stays until the run's folder goes."""

    def preview(self, index: int, jpeg: bytes) -> None:
        """What picture `index` looks like so far, as a small JPEG; at most once a second, and not always."""

    def note(self, sentence: str) -> None:
        """Something is done otherwise than asked; the person is told once."""

    def log(self, line: str) -> None:
        """The engine wrote a line."""


class Engine(Protocol):
    """Makes pictures, one drawing at a time."""

    async def draw(self, drawing: Drawing, watch: Watch) -> None:
        """Make every picture of a drawing, in order.

        When cancelled, it stops within three seconds. Raises LoraRejected for a LoRA that does not fit the base
        model, OutOfMemory, EngineDied when its process ended twice, and EngineError for the rest.
        """

    async def close(self) -> None:
        """Give back processes and memory."""
