"""What trains: an engine sees local folders and a listener, never storage or RunPod.

Every engine is an async function `train(job, listener)`. It returns when the last checkpoint has been heard of. When it
is cancelled it saves the step it is at, tells the listener, and raises CancelledError within `STOP_S`.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from backend.contract import BaseModelSpec, Message, Phase, Prompt, TrainingSettings, Wish

STOP_S = 6.0  # how long an engine may take to save and end when it is cancelled


class TrainingPicture(Message):
    """A picture on the disk and what the model is told it shows."""

    path: Path
    width: int  # pixels
    height: int
    caption: str


class ResumePoint(Message):
    """Where an earlier attempt stopped: go on behind `step` with what is in `state`."""

    step: int
    state: Path
    samples: tuple[int, ...] = ()  # which prompts were sampled at this step already


class EngineJob(Message):
    """Everything an engine needs to train one LoRA."""

    spec: BaseModelSpec
    settings: TrainingSettings
    pictures: list[TrainingPicture]
    prompts: list[Prompt]  # to sample with
    model: Path  # folder of the base model
    output: Path  # folder the engine writes checkpoints and samples into
    stem: str  # what checkpoint files are called
    resume: ResumePoint | None = None


class Listener(Protocol):
    """Who hears of an engine's progress, quickly and on the event loop, and passes on what is asked of it."""

    def phase(self, phase: Phase, message: str = "") -> None:
        """The engine has entered a phase."""

    def step(self, step: int, *, loss: float, learning_rate: float, seconds_per_step: float) -> None:
        """`step` steps are done."""

    def sample(self, step: int, index: int, path: Path) -> None:
        """A WebP sample of the prompt with this index lies at `path`."""

    def checkpoint(self, step: int, path: Path, state: Path | None) -> None:
        """A LoRA file lies at `path`, complete, and at `state` what resuming needs beside it."""

    def log(self, line: str) -> None:
        """The engine wrote a line that means nothing to us."""

    async def asked(self) -> Wish:
        """Wait until somebody asks for a checkpoint or for samples, which the engine makes after the step it is at."""


Engine = Callable[[EngineJob, Listener], Awaitable[None]]
