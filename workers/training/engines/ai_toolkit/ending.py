"""What an end of ai-toolkit means: success, or what went wrong in words a person can act on."""

from typing import NamedTuple

from backend.errors import EngineDied, EngineError, OutOfMemory
from workers.processes import describe_exit
from workers.training.engines.ai_toolkit.progress import OUT_OF_MEMORY, JobRow

# What to look for in small letters, what it means, and what to do.
_KNOWN = (
    ("no space left on device", "The disk is full", "Give the worker a larger container disk."),
    (
        "driver version is insufficient",
        "This GPU's driver is too old for ai-toolkit",
        "Choose CUDA 13 in the endpoint.",
    ),
    ("no kernel image is available", "ai-toolkit can't use this GPU", "Choose a newer kind of GPU in the endpoint."),
    ("localentrynotfounderror", "A part of the base model is missing", "Name it under [[weights.companions]]."),
    ("offline mode is enabled", "A part of the base model is missing", "Name it under [[weights.companions]]."),
)


class Ending(NamedTuple):
    """How ai-toolkit ended."""

    code: int  # negative for a signal
    row: JobRow  # what it last said of its job
    where: str  # phase and step, for a sentence
    finished: bool  # the last step's LoRA is there, whole
    saved_step: int
    out_of_memory: bool  # it has said so
    last_lines: list[str]


def judge(end: Ending) -> None:
    """Return when it succeeded: exit code, status and a whole LoRA, all three. Raises what went wrong otherwise."""
    if end.code == 0 and end.row.status == "completed" and end.finished:
        return
    said = end.row.info if end.row.status == "error" else ""
    if end.out_of_memory or OUT_OF_MEMORY.search(said):
        raise OutOfMemory(
            f"The GPU ran out of memory ({end.where}).", "Lower the resolution, the batch size or the rank."
        )
    if end.code == -9:
        raise OutOfMemory(
            f"ai-toolkit was killed, most probably because the computer ran out of memory ({end.where}).",
            "Lower the batch size or the resolution, or use a machine with more memory.",
        )
    for text, message, hint in _KNOWN:
        if text in said.lower() or any(text in line.lower() for line in end.last_lines):
            raise EngineError(f"{message} ({end.where}).", hint)
    if said:
        raise EngineError(f"ai-toolkit failed ({end.where}): {said}", "The run's log has its last lines.")
    if end.row.status == "stopped":
        raise EngineError(
            f"ai-toolkit was stopped from outside ({end.where}).", "Start it again; it continues from there."
        )
    if end.code == 0:
        raise EngineError(
            f"ai-toolkit ended without finishing ({end.where}; last saved step: {end.saved_step}).",
            "Start it again; it continues from its last checkpoint.",
        )
    last = " / ".join(end.last_lines[-3:])
    raise EngineDied(
        f"ai-toolkit {describe_exit(end.code)} ({end.where}). Its last words: {last}",
        "Start it again; it continues from its last checkpoint.",
    )
