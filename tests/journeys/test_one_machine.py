"""The studio's whole path on the real local machine: real storage, real queue, real workers, a real small model."""

import io
import json
import os
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image
from safetensors import safe_open

from app.local_machine import LocalMachine
from backend.contract import LoraUse, TrainingRequest
from backend.errors import NotFound
from backend.runs.state import RunState
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio

BASE_MODEL = "tiny-flux"
# Small enough for seconds; what the pictures look like doesn't matter here.
QUICK = {"lora_name": "Zorbot", "trigger_word": "zorbot", "rank": 4, "batch_size": 1, "prior_preservation": False}


def wait_for(what: Callable[[], Any], why: str, timeout_s: float = 90) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {timeout_s} s: {why}")


def ended(studio: Studio, owner: str, run_id: str) -> RunState:
    def look() -> RunState | None:
        state = studio.runs.state(owner, run_id)
        return state if state.ended else None

    state: RunState = wait_for(look, f"the end of {run_id}")
    return state


def done(studio: Studio, owner: str, run_id: str) -> RunState:
    state = ended(studio, owner, run_id)
    assert state.status == "done", state.failure
    return state


def at_step(studio: Studio, owner: str, run_id: str, step: int) -> RunState:
    def look() -> RunState | None:
        state = studio.runs.state(owner, run_id)
        assert not state.ended, state.failure
        return state if state.progress and state.progress.step >= step else None

    state: RunState = wait_for(look, f"step {step} of {run_id}")
    return state


def train(studio: Studio, owner: str, **wishes: Any) -> str:
    dataset = studio.datasets.sample(owner)
    return studio.training.start(owner, dataset.id, BASE_MODEL, **(QUICK | wishes))


def worker_process(kind: str) -> psutil.Process:
    module = f"workers.{kind}"
    return next(each for each in psutil.Process().children(recursive=True) if each.cmdline()[-2:] == ["-m", module])


@pytest.fixture(scope="module")
def finished(studio: Studio) -> RunState:
    """A training that is done, shared by the tests that only look at it."""
    return done(studio, "local", train(studio, "local", steps=6, save_every=3))


def test_a_folder_of_pictures_becomes_a_lora(
    studio: Studio, machine_settings: Settings, finished: RunState, tmp_path: Path
) -> None:
    result = finished.training
    assert result is not None
    assert result.steps == 6
    assert [checkpoint.step for checkpoint in result.checkpoints] == [3, 6]
    assert {sample.step for sample in result.samples} == {0, 3, 6}
    path = tmp_path / "lora.safetensors"
    studio.media.save("loras", result.lora_key, path)
    with safe_open(path, "pt") as lora:
        assert all(name.startswith("transformer.") for name in lora.keys())  # noqa: SIM118 - not a dict
        metadata = lora.metadata()
    assert metadata["modelspec.trigger_phrase"] == "zorbot"
    assert metadata["ss_network_dim"] == "4"
    assert "training" in {spent.phase for spent in result.phases}
    assert studio.runs.metrics("local", finished.run_id).steps == [1, 2, 3, 4, 5, 6]
    assert result.lora_key in {choice.key for choice in studio.loras.choices("local")}


def test_the_lora_makes_pictures_that_the_gallery_keeps(
    studio: Studio, machine_settings: Settings, finished: RunState
) -> None:
    assert finished.training is not None
    lora = LoraUse(key=finished.training.lora_key, strength=1.0)
    run_id = studio.generation.start("local", BASE_MODEL, prompt="a zorbot", loras=[lora], count=2, seed=5, steps=4)
    generation = done(studio, "local", run_id).generation
    assert generation is not None
    assert [image.seed for image in generation.images] == [5, 6]
    stored = Storage(machine_settings).outputs.get(generation.images[0].key)
    picture = Image.open(io.BytesIO(stored))
    assert picture.size == (128, 128)
    assert "a zorbot" in picture.info["parameters"]
    assert "Seed: 5" in picture.info["parameters"]
    studio.gallery.bring_up_to_date("local")
    record = studio.gallery.open("local", studio.gallery.page("local").rows[0].image_id)
    assert record.prompt == "a zorbot"
    assert record.loras == [lora]


def test_the_same_seed_makes_the_same_pixels(studio: Studio, machine_settings: Settings) -> None:
    outputs = Storage(machine_settings).outputs

    def pixels(**wishes: Any) -> bytes:
        run_id = studio.generation.start("local", BASE_MODEL, prompt="a cat", steps=4, **wishes)
        generation = done(studio, "local", run_id).generation
        assert generation is not None
        return Image.open(io.BytesIO(outputs.get(generation.images[-1].key))).tobytes()

    assert pixels(seed=9) == pixels(seed=8, count=2)
    assert pixels(seed=9) != pixels(seed=10)


@pytest.fixture(scope="class")
def under_way(studio: Studio) -> Iterator[str]:
    """A training of "somebody" that takes longer than the tests of a class, and is cancelled when they are done."""
    run_id = train(studio, "somebody", steps=1000, save_every=5)
    at_step(studio, "somebody", run_id, 1)
    yield run_id
    studio.runs.cancel("somebody", run_id)
    assert ended(studio, "somebody", run_id).status == "cancelled"


class TestWhileATrainingGoesOn:
    def test_a_queued_run_is_cancelled_at_once(self, studio: Studio, under_way: str, owner: str) -> None:
        queued = train(studio, owner, steps=2000)
        studio.runs.cancel(owner, queued)
        assert ended(studio, owner, queued).status == "cancelled"
        assert studio.runs.state("somebody", under_way).status == "running"

    def test_a_checkpoint_is_prompted(self, studio: Studio, under_way: str) -> None:
        checkpoint = wait_for(
            lambda: next((choice for choice in studio.loras.choices("somebody") if choice.detail), None),
            "a first checkpoint",
        )
        picture = studio.generation.start("somebody", BASE_MODEL, prompt="a zorbot", lora_key=checkpoint.key, steps=2)
        done(studio, "somebody", picture)
        assert studio.runs.state("somebody", under_way).status == "running"


def test_cancel_keeps_the_exact_step_and_resume_goes_on_from_it(studio: Studio, owner: str) -> None:
    run_id = train(studio, owner, steps=60, save_every=50)
    at_step(studio, owner, run_id, 5)
    asked = time.monotonic()
    studio.runs.cancel(owner, run_id)
    cancelled = ended(studio, owner, run_id)
    assert time.monotonic() - asked < 10
    assert cancelled.status == "cancelled"
    assert cancelled.failure is not None
    kept = cancelled.failure.checkpoints[-1].step
    assert 5 <= kept == cancelled.failure.step < 60
    studio.runs.retry(owner, run_id)
    resumed = done(studio, owner, run_id)
    assert resumed.training is not None
    assert resumed.training.steps == 60
    assert kept in [checkpoint.step for checkpoint in resumed.training.checkpoints]
    assert studio.runs.metrics(owner, run_id).steps == list(range(1, 61))
    assert [sample.step for sample in resumed.training.samples].count(0) == 2  # one a prompt, made once


def test_a_worker_killed_in_the_middle_is_replaced_and_the_run_resumes(studio: Studio, owner: str) -> None:
    run_id = train(studio, owner, steps=60, save_every=10)
    at_step(studio, owner, run_id, 12)
    worker_process("training").send_signal(signal.SIGKILL)
    result = done(studio, owner, run_id).training
    assert result is not None
    assert [checkpoint.step for checkpoint in result.checkpoints] == [10, 20, 30, 40, 50, 60]
    assert studio.runs.metrics(owner, run_id).steps == list(range(1, 61))


# -------------------------------------------------------------------------------------- what is wrong is said


def test_a_lora_that_does_not_exist_is_named(studio: Studio, owner: str) -> None:
    gone = f"loras/{owner}/gone/Old-robot.safetensors"
    run_id = studio.generation.start(owner, BASE_MODEL, prompt="a cat", lora_key=gone)
    failure = ended(studio, owner, run_id).failure
    assert failure is not None
    assert "“Old-robot”" in failure.message


def test_somebody_elses_lora_is_refused_at_once(studio: Studio, owner: str) -> None:
    with pytest.raises(NotFound, match="no LoRA of yours"):
        studio.generation.start(owner, BASE_MODEL, prompt="a cat", lora_key="loras/nobody/x/none.safetensors")


def call(settings: Settings, endpoint: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Call an endpoint as a stranger's script would, and wait for the job's end."""
    http = httpx.Client(
        base_url=f"{settings.runpod_base_url}/{endpoint}",
        headers={"Authorization": f"Bearer {settings.runpod_api_key.get_secret_value()}"},
        timeout=30,
    )
    with http:
        job = http.post("/run", json={"input": payload}).json()

        def look() -> dict[str, Any] | None:
            status: dict[str, Any] = http.get(f"/status/{job['id']}").json()
            return status if status["status"] in ("COMPLETED", "FAILED") else None

        reply: dict[str, Any] = wait_for(look, f"the end of a job at {endpoint}")
        return reply


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"prompt": "a cat", "base_model": BASE_MODEL, "widht": 128}, "'widht' is not a known field"),
        ({"prompt": "a cat", "base_model": "flux9"}, "There is no base model 'flux9'"),
        ({"prompt": "", "base_model": BASE_MODEL}, "'prompt' is empty"),
        ({"prompt": "a cat", "base_model": BASE_MODEL, "width": 4096}, "4096"),
    ],
)
def test_a_bad_request_fails_with_a_sentence(
    machine_settings: Settings, payload: dict[str, Any], sentence: str
) -> None:
    reply = call(machine_settings, "image_generation", payload)
    assert reply["status"] == "FAILED"
    assert sentence in json.dumps(reply)


def test_the_minimum_is_enough_for_a_direct_caller(machine_settings: Settings) -> None:
    reply = call(machine_settings, "image_generation", {"prompt": "a cat", "base_model": BASE_MODEL})
    assert reply["status"] == "COMPLETED", reply
    assert httpx.get(reply["output"]["images"][0]["url"]).headers["content-type"] == "image/png"


def test_a_direct_caller_trains_from_an_archive(machine_settings: Settings, sample_pictures: list[Path]) -> None:
    key = "datasets/direct/pictures.zip"
    archive = packed({path.name: path.read_bytes() for path in sample_pictures[:3]})
    Storage(machine_settings).loras.put(key, archive)
    reply = call(
        machine_settings,
        "training",
        {"lora_name": "Mine", "dataset_key": key, "base_model": BASE_MODEL, "steps": 2, "prior_preservation": False},
    )
    assert reply["status"] == "COMPLETED", reply
    assert reply["output"]["lora_key"].endswith("/Mine.safetensors")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "is empty"),
        ({"readme.md": b"hello"}, "holds no pictures"),
        ({"cat.png": b"not a picture"}, "cat.png is not a picture"),
    ],
)
def test_a_bad_archive_fails_with_a_sentence(
    machine_settings: Settings, files: dict[str, bytes], sentence: str
) -> None:
    Storage(machine_settings).loras.put("datasets/direct/bad.zip", packed(files))
    reply = call(
        machine_settings,
        "training",
        {"lora_name": "M", "dataset_key": "datasets/direct/bad.zip", "base_model": BASE_MODEL},
    )
    assert reply["status"] == "FAILED"
    assert sentence in json.dumps(reply)


# -------------------------------------------------------------------------------------- restarts


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(atelier_home=tmp_path / "home")


@pytest.fixture
def machines() -> Iterator[list[LocalMachine]]:
    started: list[LocalMachine] = []
    yield started
    for machine in started:
        machine.stop()


def start_studio(home: Settings, machines: list[LocalMachine]) -> Studio:
    machine = LocalMachine(home)
    machines.append(machine)
    machine.start()
    return Studio.connect(machine.settings())


def test_a_training_goes_on_after_the_studio_was_restarted(home: Settings, machines: list[LocalMachine]) -> None:
    studio = start_studio(home, machines)
    run_id = train(studio, "local", steps=80, save_every=70)
    at_step(studio, "local", run_id, 10)
    studio.close()
    machines.pop().stop()
    studio = start_studio(home, machines)
    state = done(studio, "local", run_id)
    assert isinstance(state.request, TrainingRequest)
    assert state.training is not None
    # The worker was told to go, so it saved the step it was at.
    assert 10 <= state.training.checkpoints[0].step < 70
    assert studio.runs.metrics("local", run_id).steps == list(range(1, 81))
    studio.close()


def test_nothing_is_left_running_when_the_machine_is_killed(home: Settings, machines: list[LocalMachine]) -> None:
    start_studio(home, machines).close()
    mine = [each for each in psutil.Process().children(recursive=True) if str(home.atelier_home) in each.cmdline()]
    family = [each for one in mine for each in (one, *one.children(recursive=True))]
    assert len(family) >= 5  # machine, guard, object store, two workers
    os.kill(mine[0].pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
