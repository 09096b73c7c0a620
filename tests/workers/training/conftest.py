"""The micro model, a job to train it, and a listener that remembers."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from backend.base_models import load_base_model, weights_folder
from backend.contract import BaseModelSpec, Phase, Wish
from tests.micro_model import ID, write_micro_base_model
from workers.training.engines import EngineJob, TrainingPicture

MakeJob = Callable[..., EngineJob]


class Heard:
    """A listener that remembers, and says when something was heard."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.losses: dict[int, float] = {}
        self.samples: dict[tuple[int, int], Path] = {}
        self.checkpoints: dict[int, tuple[Path, Path]] = {}
        self.lines: list[str] = []
        self.wishes: asyncio.Queue[Wish] = asyncio.Queue()
        self.last_step = 0
        self._news = asyncio.Event()

    def phase(self, phase: Phase, message: str = "") -> None:
        self.phases.append(phase)
        self._news.set()

    def step(self, step: int, *, loss: float, learning_rate: float, seconds_per_step: float) -> None:
        assert step == self.last_step + 1 or not self.last_step
        self.last_step = step
        self.losses[step] = loss
        self._news.set()

    def sample(self, step: int, index: int, path: Path) -> None:
        assert (step, index) not in self.samples
        self.samples[step, index] = path

    def checkpoint(self, step: int, path: Path, state: Path | None) -> None:
        assert state
        self.checkpoints[step] = (path, state)

    def log(self, line: str) -> None:
        self.lines.append(line)

    async def asked(self) -> Wish:
        return await self.wishes.get()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait until the condition holds; it is looked at whenever something was heard."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                await self._news.wait()


@pytest.fixture(scope="session")
def base_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("base_models")
    write_micro_base_model(root)
    return root


@pytest.fixture(scope="session")
def micro(base_models: Path) -> BaseModelSpec:
    return load_base_model(ID, base_models)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[TrainingPicture]:
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for index, colour in enumerate(("red", "green", "blue", "orange", "purple")):
        image = Image.new("RGB", (96, 80), "white")
        ImageDraw.Draw(image).ellipse((20, 10, 70, 70), fill=colour)
        path = folder / f"{index}.png"
        image.save(path)
        made.append(TrainingPicture(path=path, width=96, height=80, caption=f"a {colour} zorbot"))
    return made


@pytest.fixture(scope="session")
def make_job(micro: BaseModelSpec, base_models: Path, pictures: list[TrainingPicture]) -> MakeJob:
    def make(output: Path, **settings: Any) -> EngineJob:
        model = weights_folder(micro, base_models)
        assert model
        return EngineJob(
            spec=micro,
            settings=micro.training.model_copy(update=settings),
            pictures=pictures,
            prompts=["a zorbot", "a zorbot on a red background"],
            model=model,
            output=output,
            stem="zorbot",
        )

    return make
