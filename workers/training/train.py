"""One training from request to result: fetch, resume, train, store. How the learning is done is the engine's."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from backend.contract import (
    LoraRecord,
    TrainingRequest,
    TrainingResult,
    created_at,
    file_stem,
    paid_seconds,
)
from backend.errors import EngineError, InvalidRequest, StorageError
from backend.keys import LoraKeys
from backend.pictures import thumbnail
from backend.settings import Settings
from backend.storage import sha256_of
from backend.trainable import check_trainable
from workers.runtime import Run, Work
from workers.training.dataset import fetch_pictures
from workers.training.engines import Engine, EngineJob, TrainingPicture, diffusers
from workers.training.engines.ai_toolkit import engine as ai_toolkit
from workers.training.lora_file import describe, stamp, thumbnail_url
from workers.training.resume import Earlier, find_earlier
from workers.training.uploads import Uploads
from workers.training.wishes import Wishes
from workers.weights_process import bring_weights

CANCEL_UPLOAD_S = 3.0  # with the engine's own 6 s, a cancelled run ends within 10
ENGINES: dict[str, Callable[[Settings], Engine]] = {
    "diffusers": diffusers.make_engine,
    "ai_toolkit": ai_toolkit.make_engine,
}

T = TypeVar("T")


def make_work(settings: Settings) -> Work[TrainingRequest]:
    """Return what the training worker does for each job: train with the engine that the settings name."""
    engine = ENGINES[settings.atelier_training_engine](settings)

    async def work(run: Run[TrainingRequest]) -> TrainingResult:
        return await train(run, engine)

    return work


async def train(run: Run[TrainingRequest], engine: Engine) -> TrainingResult:
    """Train a LoRA and return where it lies; an earlier attempt at the run is gone on from, to as many steps as asked.

    Cancelled, it keeps the step it is at.
    """
    settings, prompts = run.request.settings_for(run.spec), run.request.prompts_for(run.spec)
    check_trainable(run.spec, settings, run.settings.atelier_training_engine)
    stem = file_stem(run.request.lora_name)
    pictures, model, earlier = await _fetch(run, prompts, stem)
    uploads = Uploads(run, settings, prompts, len(pictures), stem)
    job = EngineJob(
        spec=run.spec,
        settings=settings,
        pictures=pictures,
        prompts=prompts,
        model=model,
        output=run.folder / "output",
        stem=stem,
        resume=earlier.point if earlier else None,
    )
    try:
        await _run_engine(engine, job, run, uploads)
        return await _finish(run, job, uploads)
    finally:
        await uploads.close()


async def _fetch(
    run: Run[TrainingRequest], prompts: list[str], stem: str
) -> tuple[list[TrainingPicture], Path, Earlier | None]:
    run.report.phase("fetching data", "pictures")
    lines: list[str] = []
    stopped = threading.Event()
    try:
        pictures = await _in_thread(lambda: fetch_pictures(run, stopped, lines.append))
    except asyncio.CancelledError:
        stopped.set()  # a thread can't be cancelled, and the next job must not share the disk with it
        raise
    finally:
        for line in lines:
            run.report.log(line)
    run.report.log(f"{len(pictures)} pictures")
    run.report.phase("fetching data", f"weights of {run.spec.name}")
    model = await bring_weights(
        run.spec, run.settings, lambda *bytes_: run.report.phase("fetching data", downloading(*bytes_))
    )
    earlier = await _in_thread(lambda: find_earlier(run, prompts, stem))
    if earlier is None and await _in_thread(lambda: run.storage.loras.exists(run.keys.result)):
        raise InvalidRequest(
            "What it takes to go on from this run's last step was not kept.",
            "Start a new training with the same settings and more steps.",
        )
    await _in_thread(lambda: _take_over(run, earlier))
    return pictures, model, earlier


def downloading(name: str, done: int, total: int) -> str:
    """Return words for a download: "Downloading FLUX.1-dev: 3.1 of 23.8 GB"."""
    unit, one = ("GB", 1e9) if total >= 1e9 else ("MB", 1e6)
    return f"Downloading {name}: {done / one:.1f} of {total / one:.1f} {unit}"


def _take_over(run: Run[TrainingRequest], earlier: Earlier | None) -> None:
    if earlier:
        run.report.log(f"continues from step {earlier.point.step}")
        run.report.resume(earlier.point.step, earlier.checkpoints, earlier.samples, run.storage)
    else:
        run.report.resume(0, [], [], run.storage)


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


async def _run_engine(engine: Engine, job: EngineJob, run: Run[TrainingRequest], uploads: Uploads) -> None:
    try:
        await engine(job, _Listener(run, job.settings.steps, uploads))
    except asyncio.CancelledError:
        run.report.phase("uploading", "the last checkpoint")
        # What isn't there in time is lost; the checkpoint before it stands.
        try:
            await uploads.finish(CANCEL_UPLOAD_S)
        except StorageError as error:
            run.report.log(error.message)
        raise
    except Exception:
        await uploads.finish()
        raise


class _Listener:
    """Passes on what an engine says: to the report, and files to the uploads."""

    def __init__(self, run: Run[TrainingRequest], steps: int, uploads: Uploads) -> None:
        self._report, self._steps, self._uploads = run.report, steps, uploads
        self.phase: Callable[..., None] = run.report.phase
        self.log: Callable[[str], None] = run.report.log
        self.sample = uploads.sample
        self.checkpoint = uploads.checkpoint
        self.asked = Wishes(run).next

    def step(self, step: int, *, loss: float, learning_rate: float, seconds_per_step: float) -> None:
        self._report.step(step, self._steps, loss=loss, learning_rate=learning_rate, seconds_per_step=seconds_per_step)


async def _finish(run: Run[TrainingRequest], job: EngineJob, uploads: Uploads) -> TrainingResult:
    """Store the finished LoRA: file, thumbnail, and last the record that makes it one."""
    run.report.phase("uploading")
    await uploads.finish()
    record = await _in_thread(lambda: _store_lora(run, job, uploads))
    phases = run.report.phases
    return TrainingResult(
        run_id=run.keys.run_id,
        attempt=run.request.attempt,
        lora_key=record.key,
        sha256=record.sha256,
        bytes=record.bytes,
        steps=job.settings.steps,
        seconds=round(paid_seconds(phases), 2),
        phases=phases,
        checkpoints=run.report.checkpoints,
        samples=run.report.samples,
    )


def _store_lora(run: Run[TrainingRequest], job: EngineJob, uploads: Uploads) -> LoraRecord:
    request, keys = run.request, LoraKeys(run.request.owner, run.keys.run_id)
    source = _last_checkpoint(run, job, uploads)
    picture = _last_sample(run, job, uploads)
    metadata = describe(
        request, run.spec, job.settings, step=job.settings.steps, pictures=len(job.pictures), stem=job.stem
    )
    thumb_key = None
    if picture:
        metadata["modelspec.thumbnail"] = thumbnail_url(picture)
        thumb = thumbnail(picture.read_bytes())
        thumb_key = keys.thumb(thumb)
        run.storage.loras.put(thumb_key, thumb)
    file = run.folder / f"{job.stem}.safetensors"
    stamp(source, file, metadata)
    record = LoraRecord(
        id=run.keys.run_id,
        owner=request.owner,
        name=request.lora_name,
        key=keys.file(job.stem),
        sha256=sha256_of(file),
        bytes=file.stat().st_size,
        base_model=run.spec.id,
        architecture=run.spec.architecture,
        trigger_word=request.trigger_word,
        thumb_key=thumb_key,
        run_id=run.keys.run_id,
        rank=job.settings.rank,
        steps=job.settings.steps,
        created_at=created_at(run.keys.run_id),
    )
    run.storage.loras.upload(record.key, file, metadata={"sha256": record.sha256})
    run.storage.loras.put_message(keys.record, record)
    return record


def _last_checkpoint(run: Run[TrainingRequest], job: EngineJob, uploads: Uploads) -> Path:
    """Return the file of the last step: made here, or by an attempt that got no further than storing it."""
    step, path = uploads.last_checkpoint or (0, job.output)
    if step == job.settings.steps:
        return path
    kept = next((kept for kept in run.report.checkpoints if kept.step == job.settings.steps), None)
    if kept is None:
        raise EngineError(f"The training ended without its last checkpoint (step {job.settings.steps}).", "Try again.")
    run.storage.loras.download(kept.key, job.output / "last.safetensors")
    return job.output / "last.safetensors"


def _last_sample(run: Run[TrainingRequest], job: EngineJob, uploads: Uploads) -> Path | None:
    """Return the picture of the first prompt from the newest step that has one."""
    if uploads.first_sample:
        return uploads.first_sample[1]
    if not run.report.samples:
        return None
    newest = max(sample.step for sample in run.report.samples)
    first = next(sample for sample in run.report.samples if sample.step == newest)
    run.storage.loras.download(first.key, job.output / "sample.webp")
    return job.output / "sample.webp"
