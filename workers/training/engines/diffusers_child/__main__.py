"""The program: `python -m workers.training.engines.diffusers_child JOB.json`, events on standard output."""

import errno
import os
import sys
import traceback
from pathlib import Path

from backend.errors import AtelierError, InvalidRequest, OutOfMemory, WeightsError
from workers.training.engines import EngineJob
from workers.training.engines.diffusers_child.parent import Parent
from workers.training.engines.events import Failed, PhaseEntered

NICENESS = 10  # on a computer that also draws the screen and makes pictures


def main(job_file: Path) -> int:
    """Train as the file says; return the exit code."""
    parent = Parent()
    parent.tell(PhaseEntered(phase="loading model", message="starting the engine"))
    try:
        job = EngineJob.model_validate_json(job_file.read_text(encoding="utf-8"))
        from workers.training.engines.diffusers_child.trainer import train

        _keep_quiet()
        _make_way()
        train(job, parent)
    except Exception as error:
        traceback.print_exc()
        parent.tell(_in_words(error))
        return 1
    return 0


def _keep_quiet() -> None:
    """Leave the libraries' progress bars out of the run's log."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()


def _make_way() -> None:
    import torch

    if not torch.cuda.is_available():
        os.nice(NICENESS)


def _in_words(error: Exception) -> Failed:
    import torch

    if isinstance(error, AtelierError):
        return Failed(error=_kind_of(error), message=error.message, hint=error.hint)
    text = str(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in text:
        where = "The GPU" if isinstance(error, torch.OutOfMemoryError) else "The computer"
        return Failed(
            error="out of memory",
            message=f"{where} ran out of memory.",
            hint="Lower the resolution, the batch size or the rank, or use a GPU with more memory.",
        )
    # safetensors wraps the system's words in an error of its own.
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in text:
        return Failed(error="engine", message="The disk is full.", hint="Free some space and start it again to resume.")
    return Failed(
        error="engine", message=f"The training broke: {type(error).__name__}: {text}.", hint="The run's log has more."
    )


def _kind_of(error: AtelierError) -> "str":
    kinds = ((OutOfMemory, "out of memory"), (WeightsError, "weights"), (InvalidRequest, "invalid request"))
    return next((kind for cls, kind in kinds if isinstance(error, cls)), "engine")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
