"""Finds where an earlier attempt at a run stopped, and brings here what going on takes."""

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from backend.contract import Checkpoint, Sample, TrainingRequest
from backend.errors import NotFound
from backend.storage import sha256_of
from workers.runtime import Run
from workers.training.engines import ResumePoint

_SAMPLE = re.compile(r"(\d{9})-(\d+)\.webp")


class Earlier(NamedTuple):
    """What an earlier attempt left behind."""

    point: ResumePoint
    checkpoints: list[Checkpoint]
    samples: list[Sample]


def find_earlier(run: Run[TrainingRequest], prompts: list[str], stem: str) -> Earlier | None:
    """Return the newest step whose state and checkpoint are whole, or None to begin at the beginning. Blocks."""
    state = run.folder / "state.bin"
    for key in reversed([stored.key for stored in run.storage.loras.list_all(run.keys.states)]):
        step = int(PurePosixPath(key).stem)
        checkpoint = _checkpoint(run, step, stem)
        if checkpoint is None or not _fetch_state(run, step, state):
            continue
        samples = _samples(run, prompts, step)
        point = ResumePoint(step=step, state=state, samples=tuple(index for at, index in samples if at == step))
        # The worker may have died between storing a checkpoint and saying so.
        reported = [kept for kept in run.report.checkpoints if kept.step < step]
        return Earlier(point, [*reported, checkpoint], list(samples.values()))
    return None


def _checkpoint(run: Run[TrainingRequest], step: int, stem: str) -> Checkpoint | None:
    key = run.keys.checkpoint(stem, step)
    try:
        head = run.storage.loras.head(key)
    except NotFound:
        return None
    return Checkpoint(step=step, key=key, sha256=head.sha256, bytes=head.bytes) if head.sha256 else None


def _fetch_state(run: Run[TrainingRequest], step: int, state: Path) -> bool:
    """Download a step's state; return whether it is what was stored."""
    key = run.keys.state(step)
    run.storage.loras.download(key, state)
    return run.storage.loras.head(key).sha256 == sha256_of(state)


def _samples(run: Run[TrainingRequest], prompts: list[str], step: int) -> dict[tuple[int, int], Sample]:
    """Return the samples in storage up to `step`, reported or not, by step and prompt."""
    found = {}
    for stored in run.storage.loras.list_all(run.keys.samples):
        match = _SAMPLE.fullmatch(PurePosixPath(stored.key).name)
        if match and int(match[1]) <= step and int(match[2]) < len(prompts):
            at, index = int(match[1]), int(match[2])
            found[at, index] = Sample(step=at, prompt=prompts[index], key=stored.key)
    return found
