"""The files that go to ai-toolkit and come from it: the dataset, LoRAs, and the state to resume from."""

import json
import os
import re
import shutil
import tarfile
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from backend.errors import DatasetRejected, EngineError, LoraRejected
from backend.lora_files import LoraHeader, read_header
from backend.toolkit_config import ToolkitJob, harmless, job_name, toolkit_config
from workers.training.engines import EngineJob, TrainingPicture

READABLE = (".jpg", ".jpeg", ".png", ".webp")  # ai-toolkit passes over everything else in silence
OPTIMIZER = "optimizer.pt"  # in ai-toolkit's folder: one, overwritten by each save
_LORA = "lora.safetensors"  # in a packed state
_STEP = re.compile(r"_(\d{9})\.safetensors$")


def toolkit_folder(job: EngineJob) -> Path:
    """Where ai-toolkit works; nothing of ours but its inputs lies there."""
    return job.output / "toolkit"


def toolkit_job(job: EngineJob) -> ToolkitJob:
    """Return an engine's job as ai-toolkit's configuration is rendered from it."""
    return ToolkitJob(
        spec=job.spec,
        settings=job.settings,
        prompts=job.prompts,
        model=job.model,
        folder=toolkit_folder(job),
        name=job_name(job.stem),
        samples_are_due=_samples_are_due(job),
    )


def _samples_are_due(job: EngineJob) -> bool:
    """Whether an earlier attempt ended between saving a checkpoint and sampling at it."""
    if job.resume is None or job.resume.step % job.settings.save_every:
        return False
    return len(job.resume.samples) < len(job.prompts)


def save_folder(job: EngineJob) -> Path:
    """Where ai-toolkit writes; it resumes from the newest file it finds there, so nothing else may lie in it."""
    return toolkit_folder(job) / "out" / job_name(job.stem)


def lay_out(job: EngineJob, gpu_memory_gb: float) -> Path:
    """Write everything ai-toolkit reads into a fresh folder and return its configuration file. Blocks.

    Raises DatasetRejected for a picture that can't be read, EngineError for a damaged state.
    """
    shutil.rmtree(toolkit_folder(job), ignore_errors=True)
    dataset = toolkit_folder(job) / "dataset"
    dataset.mkdir(parents=True)
    for index, picture in enumerate(job.pictures):
        _check_picture(picture)
        _link(picture.path, dataset / f"{index:05d}{picture.path.suffix.lower()}")
        (dataset / f"{index:05d}.txt").write_text(harmless(picture.caption), encoding="utf-8")
    save_folder(job).mkdir(parents=True)
    if job.resume:
        unpack_state(job.resume.state, job.resume.step, save_folder(job), job_name(job.stem))
    config = toolkit_folder(job) / "config.json"
    config.write_text(json.dumps(toolkit_config(toolkit_job(job), gpu_memory_gb), indent=2), encoding="utf-8")
    return config


def _check_picture(picture: TrainingPicture) -> None:
    if picture.path.suffix.lower() not in READABLE:
        raise DatasetRejected(
            f"{picture.path.name} is no picture ai-toolkit reads.", f"Use one of: {', '.join(READABLE)}."
        )
    try:
        with Image.open(picture.path) as image:
            image.load()  # ai-toolkit skips a damaged one and still reports success
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DatasetRejected(
            f"{picture.path.name} is damaged: {error}.", "Leave it out, or save it again and upload it."
        ) from error


def keep_lora(source: Path, job: EngineJob, step: int) -> Path:
    """Give a checkpoint a second name where ai-toolkit won't delete it, and return that."""
    return _second_name(source, job.output / "checkpoints" / f"{job.stem}_{step:09d}.safetensors")


def keep_sample(source: Path, job: EngineJob, step: int, index: int) -> Path:
    """Give a sample a second name that outlives another attempt, and return that."""
    return _second_name(source, job.output / "samples" / f"{step:09d}-{index}{source.suffix}")


def step_of(checkpoint: Path, steps: int) -> int:
    """Return the step in a checkpoint's name; the final file carries none."""
    found = _STEP.search(checkpoint.name)
    return int(found.group(1)) if found else steps


def check_lora(path: Path) -> LoraHeader:
    """Return a LoRA's header. Raises EngineError unless the file holds exactly what its header says. Blocks."""
    try:
        header = read_header(path, path.name)
    except LoraRejected as error:
        raise EngineError(error.message, "Check the worker's disk, and start it again.") from error
    if not header.tensors:
        raise EngineError(f"{path.name} holds no weights.")
    return header


def _trained_steps(header: LoraHeader) -> int | None:
    """Return the step ai-toolkit wrote into a checkpoint, which is where it goes on."""
    try:
        return int(json.loads(header.metadata["training_info"])["step"])
    except (KeyError, TypeError, ValueError):
        return None


def pack_state(lora: Path, optimizer: Path, state: Path) -> None:
    """Write what resuming needs into one file, which appears only when it is complete. Blocks."""
    partial = state.with_name(state.name + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(partial, "w") as archive:
        archive.add(lora, _LORA)
        archive.add(optimizer, OPTIMIZER)
    partial.replace(state)


def unpack_state(state: Path, step: int, folder: Path, name: str) -> None:
    """Put one checkpoint and its optimizer where ai-toolkit resumes from. Blocks. Raises EngineError if damaged."""
    lora = folder / f"{name}_{step:09d}.safetensors"
    try:
        with tarfile.open(state) as archive:
            for member, target in ((_LORA, lora), (OPTIMIZER, folder / OPTIMIZER)):
                source = archive.extractfile(member)
                if source is None:
                    raise KeyError(member)
                with source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise EngineError(
            f"The state saved at step {step} is damaged ({error}).", "Start the training again from the beginning."
        ) from error
    trained = _trained_steps(check_lora(lora))
    if trained != step:
        raise EngineError(
            f"The state saved at step {step} is of step {trained}.",
            "Start the training again from the beginning.",
        )


def _second_name(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    _link(source, target)
    return target


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
