"""The pictures ai-toolkit draws while it trains, each told once."""

import asyncio
from pathlib import Path

from workers.training.engines import EngineJob, Listener
from workers.training.engines.ai_toolkit.files import keep_sample, save_folder
from workers.training.engines.ai_toolkit.progress import SAMPLE_NAME


class Samples:
    """The samples of one attempt, without those that an earlier one stored at the step it went on from."""

    def __init__(self, job: EngineJob, listener: Listener) -> None:
        self._job, self._listener = job, listener
        self._folder = save_folder(job) / "samples"
        self._looked_at: set[str] = set()  # files
        # Steps and prompts; what is asked for may come when it is due, too.
        self._told = {(job.resume.step, index) for index in job.resume.samples} if job.resume else set()

    async def tell_new(self) -> bool:
        """Tell the listener of the samples since the last call; return whether there were any."""
        any_new = False
        for path in await asyncio.to_thread(_pictures_in, self._folder):
            name = SAMPLE_NAME.search(path.name)
            if path.name in self._looked_at or not name:
                continue
            self._looked_at.add(path.name)
            step, index = int(name["step"]), int(name["index"])
            if (step, index) in self._told:
                continue
            self._told.add((step, index))
            any_new = True
            self._listener.sample(step, index, await asyncio.to_thread(keep_sample, path, self._job, step, index))
        return any_new


def _pictures_in(folder: Path) -> list[Path]:
    # By name, so by time: a name begins with the milliseconds at which it was made.
    return sorted(path for path in folder.glob("*.webp") if not path.name.startswith("."))
