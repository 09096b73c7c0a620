"""One warm engine for the whole session (its start imports torch, which takes seconds), and LoRA files to give it."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from safetensors.numpy import save, save_file

from backend.base_models import load_base_model, weights_folder
from backend.contract import BaseModelSpec
from tests.conftest import LoopThread
from tests.workers.image_generation.drawings import drawing_of_a_cat
from workers.image_generation.engines import Drawing, LoraInUse, Picture
from workers.image_generation.engines.diffusers import DiffusersEngine

LAYERS = ("attn.to_q", "attn.to_k", "attn.to_v")
HIDDEN = 256
RANK = 4

MakeLora = Callable[..., LoraInUse]


class Log:
    """A Watch that remembers."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self.steps: list[tuple[int, int]] = []
        self.previews: list[tuple[int, bytes]] = []
        self.loadings = 0
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.begun = asyncio.Event()
        self.first_picture = asyncio.Event()

    def loading(self) -> None:
        self.loadings += 1

    def generating(self) -> None:
        self.begun.set()

    def step(self, step: int, steps: int) -> None:
        self.steps.append((step, steps))

    def picture(self, picture: Picture) -> None:
        self.pictures.append(picture)
        self.first_picture.set()

    def preview(self, index: int, jpeg: bytes) -> None:
        self.previews.append((index, jpeg))

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def log(self, line: str) -> None:
        self.lines.append(line)

    @property
    def pixels(self) -> list[bytes]:
        return [Image.open(io.BytesIO(picture.path.read_bytes())).tobytes() for picture in self.pictures]


class Desk:
    """An engine and the loop it lives in: draws, and waits for the end."""

    def __init__(self, loop: LoopThread, spec: BaseModelSpec, folder: Path, **timing: float) -> None:
        self.loop = loop
        self.engine = DiffusersEngine(**timing)
        self._spec = spec
        self._folder = folder
        self._drawings = 0

    def drawing(self, *seeds: int, **changes: Any) -> Drawing:
        self._drawings += 1
        folder = self._folder / str(self._drawings)
        folder.mkdir()
        weights = weights_folder(self._spec)
        assert weights
        return drawing_of_a_cat(self._spec, weights, folder, *seeds, **({"steps": 3} | changes))

    def draw(self, *seeds: int, **changes: Any) -> Log:
        async def work() -> Log:
            log = Log()
            await self.engine.draw(self.drawing(*seeds, **changes), log)
            return log

        return self.loop.run(work())

    def close(self) -> None:
        async def work() -> None:
            await self.engine.close()

        self.loop.run(work())


@pytest.fixture(scope="session")
def spec() -> BaseModelSpec:
    return load_base_model("tiny-flux")


@pytest.fixture(scope="session")
def engine_loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def desk(engine_loop: LoopThread, spec: BaseModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(engine_loop, spec, tmp_path_factory.mktemp("drawings"))
    yield desk
    desk.close()


def lora_tensors(
    *, seed: int = 1, size: float = 0.3, hidden: int = HIDDEN, prefix: str = "transformer."
) -> dict[str, "numpy.ndarray[Any, Any]"]:
    """A LoRA of the tiny model's single blocks, in diffusers' naming."""
    random = numpy.random.default_rng(seed)
    tensors = {}
    for layer in LAYERS:
        name = f"{prefix}single_transformer_blocks.0.{layer}"
        tensors[f"{name}.lora_A.weight"] = random.normal(0, size, (RANK, hidden)).astype("float32")
        tensors[f"{name}.lora_B.weight"] = random.normal(0, size, (hidden, RANK)).astype("float32")
    return tensors


def lora_bytes(**how: Any) -> bytes:
    return bytes(save(lora_tensors(**how), metadata={"format": "pt"}))


@pytest.fixture
def make_lora(tmp_path: Path) -> MakeLora:
    """Write tensors as a LoRA file and return it in use."""
    made = 0

    def make(
        tensors: Mapping[str, Any], strength: float = 1.0, name: str = "robot", adapter: Mapping[str, Any] | None = None
    ) -> LoraInUse:
        nonlocal made
        made += 1
        path = tmp_path / f"{made}.safetensors"
        metadata = {"format": "pt"} | ({"lora_adapter_metadata": json.dumps(adapter)} if adapter else {})
        save_file(dict(tensors), path, metadata=metadata)
        return LoraInUse(path=path, name=name, content_hash=f"{tmp_path.name}-{made}", strength=strength)

    return make
