"""The diffusers engine for real: its child process, the micro model, files in a temporary folder."""

import asyncio
import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy
import psutil  # type: ignore[import-untyped]
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from backend.errors import EngineDied, EngineError
from tests.workers.training.conftest import Heard, MakeJob
from workers.training.engines import EngineJob, ResumePoint
from workers.training.engines.diffusers import CHILD, train

ROOT = Path(__file__).parents[3]
STEPS, SAVE_EVERY = 40, 20


class Finished(NamedTuple):
    """A training that went through."""

    job: EngineJob
    heard: Heard


def train_to_the_end(job: EngineJob) -> Heard:
    heard = Heard()
    asyncio.run(train(job, heard))
    return heard


def children_of(pid: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # gone since, or a zombie
            if CHILD in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.fixture(scope="module")
def finished(make_job: MakeJob, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    job = make_job(tmp_path_factory.mktemp("finished"), steps=STEPS, save_every=SAVE_EVERY, alpha=8)
    return Finished(job, train_to_the_end(job))


def test_the_loss_falls(finished: Finished) -> None:
    losses = list(finished.heard.losses.values())
    assert list(finished.heard.losses) == list(range(1, STEPS + 1))
    assert sum(losses[-8:]) < 0.95 * sum(losses[:8])


def test_the_phases_come_in_order(finished: Finished) -> None:
    phases = list(dict.fromkeys(finished.heard.phases))
    assert phases == ["loading model", "caching", "sampling", "training", "saving"]


def test_samples_are_drawn_at_the_beginning_at_every_save_and_at_the_end(finished: Finished) -> None:
    assert sorted(finished.heard.samples) == [(step, index) for step in (0, SAVE_EVERY, STEPS) for index in (0, 1)]
    for path in finished.heard.samples.values():
        with Image.open(path) as image:
            assert (image.format, image.size) == ("WEBP", (64, 64))


def test_a_checkpoint_lies_at_every_save(finished: Finished) -> None:
    names = {step: path.name for step, (path, _) in finished.heard.checkpoints.items()}
    assert names == {20: "zorbot_000000020.safetensors", 40: "zorbot_000000040.safetensors"}
    assert not list(finished.job.output.glob("*.partial"))


def test_the_keys_are_those_that_other_tools_read(finished: Finished) -> None:
    path, _ = finished.heard.checkpoints[STEPS]
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    block = "transformer.transformer_blocks.0.attn.to_q"
    assert header[f"{block}.lora_A.weight"] == header[f"{block}.lora_A.weight"] | {"dtype": "BF16", "shape": [4, 32]}
    assert header[f"{block}.alpha"]["shape"] == []  # alpha is 8 and the rank 4: readers must be told
    assert "transformer.single_transformer_blocks.0.proj_mlp.lora_B.weight" in header
    assert "transformer.proj_out.lora_A.weight" not in header  # outside the blocks


def test_the_lora_loads_in_diffusers_with_its_alpha(finished: Finished) -> None:
    program = """
import sys, torch
from diffusers import FluxPipeline
pipeline = FluxPipeline.from_pretrained(sys.argv[1])
draw = lambda: pipeline("a zorbot", height=64, width=64, num_inference_steps=2, max_sequence_length=24,
                        generator=torch.Generator().manual_seed(1), output_type="pt").images
before = draw()
pipeline.load_lora_weights(sys.argv[2])
layer = pipeline.transformer.transformer_blocks[0].attn.to_q
assert layer.scaling == {"default_0": 2.0}, layer.scaling
assert (draw() - before).abs().max() > 1e-4
"""
    path, _ = finished.heard.checkpoints[STEPS]
    command = [sys.executable, "-c", program, str(finished.job.model), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_resuming_goes_on_bit_for_bit_and_repeats_nothing(finished: Finished, tmp_path: Path) -> None:
    _, state = finished.heard.checkpoints[SAVE_EVERY]
    point = ResumePoint(step=SAVE_EVERY, state=state, samples=(0,))
    heard = train_to_the_end(finished.job.model_copy(update={"output": tmp_path, "resume": point}))
    assert heard.losses == {step: loss for step, loss in finished.heard.losses.items() if step > SAVE_EVERY}
    assert sorted(heard.samples) == [(SAVE_EVERY, 1), (STEPS, 0), (STEPS, 1)]
    assert list(heard.checkpoints) == [STEPS]
    assert heard.checkpoints[STEPS][0].read_bytes() == finished.heard.checkpoints[STEPS][0].read_bytes()
    assert heard.samples[STEPS, 0].read_bytes() == finished.heard.samples[STEPS, 0].read_bytes()


async def test_what_is_asked_for_comes_in_between_and_a_cancel_saves_the_exact_step(
    make_job: MakeJob, tmp_path: Path
) -> None:
    heard = Heard()
    task = asyncio.create_task(train(make_job(tmp_path, steps=20_000, save_every=10_000), heard))
    await heard.until(lambda: heard.last_step >= 3)
    heard.wishes.put_nowait("save")
    await heard.until(lambda: bool(heard.checkpoints))
    heard.wishes.put_nowait("sample")
    await heard.until(lambda: len(heard.samples) == 4)
    sampled = {step for step, _ in heard.samples} - {0}
    await heard.until(lambda: heard.last_step > max(sampled) + 2)
    cancelled_at = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - cancelled_at < 6
    assert len(sampled) == 1
    assert heard.phases[-4:] == ["sampling", "sampling", "training", "saving"]
    asked_for, kept = heard.checkpoints
    assert asked_for < kept == heard.last_step
    assert all(path.stat().st_size for path in heard.checkpoints[kept])
    assert not children_of(os.getpid())


async def test_cancelling_before_the_first_step_ends_at_once(make_job: MakeJob, tmp_path: Path) -> None:
    heard = Heard()
    task = asyncio.create_task(train(make_job(tmp_path), heard))
    await heard.until(lambda: "loading model" in heard.phases)
    cancelled_at = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - cancelled_at < 3
    assert not heard.checkpoints


async def test_a_killed_child_is_told_in_words(make_job: MakeJob, tmp_path: Path) -> None:
    heard = Heard()
    task = asyncio.create_task(train(make_job(tmp_path, steps=20_000, save_every=10_000), heard))
    await heard.until(lambda: heard.last_step >= 1)
    children_of(os.getpid())[0].kill()
    with pytest.raises(EngineDied, match=r"killed during 'training' at step .* ran out of memory"):
        await task


def test_the_child_ends_when_its_worker_is_killed(make_job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(make_job(tmp_path / "out", steps=20_000).model_dump_json())
    program = """
import asyncio, sys
from pathlib import Path
from tests.workers.training.conftest import Heard
from workers.training.engines import EngineJob
from workers.training.engines.diffusers import train
asyncio.run(train(EngineJob.model_validate_json(Path(sys.argv[1]).read_text()), Heard()))
"""
    worker = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "job.json")], cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not (children := children_of(worker.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        worker.send_signal(signal.SIGKILL)
        worker.wait(5)
        _, alive = psutil.wait_procs(children, timeout=4)
        assert children
        assert not alive
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()


def test_a_loss_that_is_no_number_ends_the_training_at_once(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(tmp_path / "out", prior_preservation=False)
    model = tmp_path / "model"
    shutil.copytree(job.model, model)
    weights = next((model / "transformer").glob("*.safetensors"))
    tensors = load_file(weights)
    tensors["proj_out.bias"] = numpy.full_like(tensors["proj_out.bias"], math.nan)
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"loss became nan at step 1.* Lower the learning rate \(it is 0\.02\)"):
        asyncio.run(train(job.model_copy(update={"model": model, "prompts": []}), Heard()))
