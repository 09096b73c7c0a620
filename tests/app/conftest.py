"""A studio on the real S3 server without workers, and runs in it as a worker would have left them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from app.door import Door
from app.routes import routes
from app.session import LOCAL_OWNER
from app.sign_in import Loopback
from backend.contract import (
    Checkpoint,
    GenerationRequest,
    ImageRecord,
    Metrics,
    Progress,
    Sample,
    TrainingRequest,
    TrainingResult,
    new_run_id,
)
from backend.keys import ImageKeys, RunKeys
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio

BASE_MODEL = "tiny-flux"


@dataclass
class Visit:
    """What a handler sees of the browser's request."""

    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: {"sec-fetch-site": "same-origin"})
    state: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(owner=LOCAL_OWNER))  # as the door marks it


class Past:
    """Stores what earlier runs have left."""

    def __init__(self, studio: Studio, storage: Storage) -> None:
        self._studio = studio
        self._storage = storage

    def training(self, name: str = "Zorbot", wishes: dict[str, Any] | None = None, **progress: Any) -> RunKeys:
        """A training whose worker said something just now."""
        keys = RunKeys(LOCAL_OWNER, new_run_id("train"))
        spec = self._studio.base_models[BASE_MODEL]
        request = TrainingRequest(
            run_id=keys.run_id,
            owner=LOCAL_OWNER,
            base_model=spec,
            lora_name=name,
            dataset_key=keys.dataset,
            trigger_word="zorbot",
            **(wishes or {}),
        )
        self._storage.loras.put_message(keys.request, request)
        self.progress(keys, **progress)
        return keys

    def finish(self, keys: RunKeys, steps: int, phases: dict[str, float]) -> None:
        """The training ended well, and took so many seconds in each phase."""
        times = [{"phase": phase, "seconds": seconds} for phase, seconds in phases.items()]
        ended = {
            "run_id": keys.run_id, "lora_key": f"loras/{LOCAL_OWNER}/{keys.run_id}/x.safetensors", "sha256": "0" * 64,
            "bytes": 1, "steps": steps, "seconds": 80, "phases": times, "checkpoints": [], "samples": [],
        }  # fmt: skip
        self._storage.loras.put_message(keys.result, TrainingResult.model_validate(ended))

    def progress(self, keys: RunKeys, **changes: Any) -> None:
        said = {
            "run_id": keys.run_id, "attempt": 1, "seq": 1, "updated_at": time.time(), "phase": "training",
            "phases": [{"phase": "training", "seconds": 12.0}], "step": 140, "steps": 300,
            "checkpoints": [Checkpoint(step=100, key=keys.checkpoint("zorbot", 100), sha256="a" * 64, bytes=10)],
            "samples": [Sample(step=0, prompt="a zorbot", key=keys.sample(0, 0))],
        }  # fmt: skip
        self._storage.loras.put_message(keys.progress, Progress.model_validate(said | changes))

    def curve(self, keys: RunKeys, steps: range) -> None:
        loss = [1 / (step + 1) for step in steps]
        curve = Metrics(steps=list(steps), loss=loss, learning_rate=[1e-3] * len(steps))
        self._storage.loras.put_message(keys.metrics(steps.start), curve)

    def picture(self, prompt: str = "a <b>zorbot</b>", seed: int = 2**63 + 1, **more: Any) -> ImageRecord:
        """A picture in the gallery."""
        run_id = new_run_id("image")
        keys = ImageKeys.of_run(LOCAL_OWNER, run_id, 0)
        self._storage.outputs.put(keys.image, b"a picture of forty bytes, more or less..")
        self._storage.outputs.put(keys.thumb, b"its thumbnail")
        record = ImageRecord(
            id=keys.image_id, owner=LOCAL_OWNER, run_id=run_id, key=keys.image, thumb_key=keys.thumb, prompt=prompt,
            base_model=BASE_MODEL, width=160, height=112, steps=12, guidance=2.5, seed=seed, created_at=time.time(),
            **more,
        )  # fmt: skip
        self._storage.outputs.put_message(keys.record, record)
        return record

    def generation(self, prompt: str, **more: Any) -> RunKeys:
        """A press of Generate that was just handed over."""
        keys = RunKeys(LOCAL_OWNER, new_run_id("image"))
        spec = self._studio.base_models[BASE_MODEL]
        request = GenerationRequest(
            run_id=keys.run_id, owner=LOCAL_OWNER, base_model=spec, prompt=prompt, seed=2**63 + 1, count=2, **more
        )
        self._storage.loras.put_message(keys.request, request)
        return keys


@pytest.fixture(scope="session")
def quiet_studio(storage_settings: Settings) -> Iterator[Studio]:
    """A studio that reaches storage, and nothing at RunPod's address."""
    unreachable = {"runpod_base_url": "http://127.0.0.1:9/v2", "runpod_training_endpoint_id": "training"}
    studio = Studio.connect(storage_settings.model_copy(update=unreachable))
    yield studio
    studio.close()


@pytest.fixture(scope="session")
def browser(quiet_studio: Studio) -> Iterator[TestClient]:
    """Our own page's scripts."""
    headers = {"sec-fetch-site": "same-origin"}
    app = Starlette(routes=routes(quiet_studio), middleware=[Middleware(Door, sign_in=Loopback())])
    with TestClient(app, base_url="http://127.0.0.1:7860", headers=headers) as client:
        yield client


@pytest.fixture(scope="session")
def past(quiet_studio: Studio, storage: Storage) -> Past:
    return Past(quiet_studio, storage)
