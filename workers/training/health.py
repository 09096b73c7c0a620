"""Says whether a training worker can take jobs: `python -m workers.training.health`, for the image's health check."""

import os
import sys
from pathlib import Path

from backend.settings import Settings

WORKER = "workers.training"


def problems(settings: Settings, command_line: str) -> list[str]:
    """Return a sentence for each thing that is wrong. `command_line` is what runs as the container's first process."""
    found = []
    if WORKER not in command_line:
        found.append(f"The worker does not run: the first process is '{command_line}'.")
    if settings.atelier_training_engine == "ai_toolkit" and not (settings.ai_toolkit_path / "run.py").exists():
        found.append(f"ai-toolkit is not at {settings.ai_toolkit_path}; set AI_TOOLKIT_PATH.")
    if not os.access(settings.atelier_volume, os.W_OK):
        found.append(f"{settings.atelier_volume} is missing or can't be written; base models are kept there.")
    return found


def main() -> int:
    """Print what is wrong; return how much."""
    command_line = Path("/proc/1/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    found = problems(Settings(), command_line)
    for problem in found:
        print(problem)
    return len(found)


if __name__ == "__main__":
    sys.exit(main())
