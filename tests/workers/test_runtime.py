"""What becomes of a job, whatever its work does: against real storage, with work that is a function."""

import asyncio
import errno
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from backend.base_models import load_base_model
from backend.contract import (
    Checkpoint,
    GenerationRequest,
    GenerationResult,
    JobFailure,
    TrainingRequest,
    TrainingResult,
    new_run_id,
)
from backend.keys import RunKeys
from backend.settings import Settings
from backend.storage import Storage
from workers.runtime import Run, Work, Worker

TINY = load_base_model("tiny-flux")


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def keys(owner: str) -> RunKeys:
    return RunKeys(owner, new_run_id("image"))


def job_of(keys: RunKeys, **wishes: Any) -> dict[str, Any]:
    """A job as the studio sends it."""
    asked = {"run_id": keys.run_id, "owner": keys.owner, "base_model": TINY.model_dump(), "prompt": "a cat"}
    return {"id": "a-job", "input": asked | wishes}


async def nothing(run: Run[GenerationRequest]) -> GenerationResult:
    return GenerationResult(run_id=run.keys.run_id, images=[], seconds=1, phases=[])


def worker_for(work: Work[GenerationRequest], settings: Settings) -> Worker[GenerationRequest]:
    return Worker("image", GenerationRequest, work, settings)


async def test_a_worker_of_many_jobs_hears_that_it_must_go(storage_settings: Settings) -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    worker = worker_for(nothing, storage_settings)
    for _ in range(1200):
        await worker.handle({"id": "a-job", "input": {}})
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    assert heard == [signal.SIGTERM]


async def test_a_worker_that_must_go_leaves_its_run_to_the_next(
    storage_settings: Settings, storage: Storage, keys: RunKeys
) -> None:
    begun = asyncio.Event()

    async def endless(run: Run[GenerationRequest]) -> GenerationResult:
        begun.set()
        await asyncio.sleep(60)
        return await nothing(run)

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job = asyncio.create_task(worker_for(endless, storage_settings).handle(job_of(keys)))
    await begun.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not storage.loras.exists(keys.failure)
    assert (await worker_for(nothing, storage_settings).handle(job_of(keys)))["run_id"] == keys.run_id


async def test_a_time_limit_ends_a_training_as_a_cancel_does(
    storage_settings: Settings, storage: Storage, owner: str
) -> None:
    keys = RunKeys(owner, new_run_id("train"))
    kept = Checkpoint(step=7, key=keys.checkpoint("x", 7), sha256="0" * 64, bytes=1)

    async def endless(run: Run[TrainingRequest]) -> TrainingResult:
        try:
            await asyncio.sleep(60)
        finally:
            run.report.checkpoint(kept)  # as an engine saves the step it is at
        raise AssertionError("nobody ended it")

    worker = Worker("train", TrainingRequest, endless, storage_settings)
    asked = {"run_id": keys.run_id, "owner": owner, "base_model": TINY.model_dump(), "lora_name": "x"}
    reply = await worker.handle({"id": "a-job", "input": asked | {"dataset_key": "x.zip", "max_minutes": 0.005}})
    assert reply == {"error": "Stopped at its time limit. The checkpoint at step 7 is kept; Resume continues from it."}
    failure = storage.loras.get_message(keys.failure, JobFailure)
    assert (failure.kind, failure.checkpoints) == ("cancelled", [kept])


async def test_a_newer_studio_is_told_to_update_the_worker(
    storage_settings: Settings, storage: Storage, keys: RunKeys
) -> None:
    reply = await worker_for(nothing, storage_settings).handle(job_of(keys, attempt=2, tomorrows_wish=1))
    failure = storage.loras.get_message(keys.failure, JobFailure)
    assert (failure.attempt, failure.kind) == (2, "service")
    assert "'tomorrows_wish'" in failure.message
    assert "another version" in failure.hint
    assert reply == {"error": f"{failure.message} {failure.hint}"}


async def test_a_misspelt_wish_of_a_direct_caller_is_named(storage_settings: Settings) -> None:
    reply = await worker_for(nothing, storage_settings).handle({"id": "a-job", "input": {"prompt": "a", "stepz": 3}})
    assert reply == {"error": "'stepz' is not a known field; check its spelling or leave it out."}


async def test_a_full_disk_is_called_that(storage_settings: Settings, storage: Storage, keys: RunKeys) -> None:
    async def fills_the_disk(run: Run[GenerationRequest]) -> GenerationResult:
        raise OSError(errno.ENOSPC, "No space left on device")

    await worker_for(fills_the_disk, storage_settings).handle(job_of(keys))
    failure = storage.loras.get_message(keys.failure, JobFailure)
    assert failure.message == "The worker's disk is full."
    assert "disk_gb" in failure.hint
