"""What ai-toolkit saves while it trains: taken before its next save overwrites it, verified, and told of."""

import asyncio
import os
from pathlib import Path

from backend.errors import AtelierError, EngineError
from workers.training.engines import EngineJob, Listener, ResumePoint
from workers.training.engines.ai_toolkit.files import (
    OPTIMIZER,
    check_lora,
    keep_lora,
    pack_state,
    save_folder,
    step_of,
    toolkit_folder,
)


class Saves:
    """The saves of one attempt. Its lines tell when each is written; `keep_forever` has to run beside it."""

    def __init__(self, job: EngineJob, listener: Listener) -> None:
        self._job, self._listener = job, listener
        self._unpaired: Path | None = None  # a LoRA that was written and whose optimizer was not yet
        self._taken: set[int] = set()  # steps whose save was kept
        self._waiting: asyncio.Queue[tuple[Path, Path | None]] = asyncio.Queue()
        self._news = asyncio.Event()
        self.broken: AtelierError | None = None
        self.last_step = job.resume.step if job.resume else 0
        self.resume_point = job.resume  # the newest state, kept here for a second try

    def lora_written(self, path: Path) -> None:
        """Note a LoRA; what resuming from it takes follows."""
        self._unpaired = path

    def optimizer_written(self) -> None:
        """Take what was saved, and leave the rest to `keep_forever`."""
        if self._unpaired is None:
            return
        source, self._unpaired = self._unpaired, None
        step = step_of(source, self._job.settings.steps)
        if step in self._taken:
            return  # asked for and due at the same step
        self._taken.add(step)
        optimizer = save_folder(self._job) / OPTIMIZER
        taken = toolkit_folder(self._job) / f"optimizer_{step:09d}.pt"
        try:
            lora = keep_lora(source, self._job, step)
            if optimizer.exists():
                # ai-toolkit reads it when it starts and never again, so it may go: no copy, and no half of one.
                optimizer.replace(taken)
        except OSError as error:
            self.broken = EngineError(f"The checkpoint of step {step} could not be kept: {error}.", "Check the disk.")
            return
        self._waiting.put_nowait((lora, taken if taken.exists() else None))

    async def keep_forever(self) -> None:
        """Verify each save and tell the listener of it."""
        while True:
            lora, optimizer = await self._waiting.get()
            try:
                await self._keep(lora, optimizer)
            except AtelierError as error:
                self.broken = error
            except OSError as error:
                self.broken = EngineError(f"{lora.name} could not be kept: {error}.", "Check the disk.")
            finally:
                self._waiting.task_done()

    async def kept(self) -> None:
        """Wait until everything that was taken is kept."""
        await self._waiting.join()

    async def next(self) -> None:
        """Wait for a save that is kept from now on."""
        self._news.clear()
        await self._news.wait()

    async def _keep(self, lora: Path, optimizer: Path | None) -> None:
        step = step_of(lora, self._job.settings.steps)
        await asyncio.to_thread(check_lora, lora)
        state = None
        if optimizer:
            state = self._job.output / "states" / f"{step:09d}.bin"
            await asyncio.to_thread(pack_state, lora, optimizer, state)
            # The listener's owner removes the state when it is stored; a second try here needs one as well.
            ours = await asyncio.to_thread(_keep_for_second_try, state, optimizer, self._job.output / "state.bin")
            self.resume_point = ResumePoint(step=step, state=ours)
        self.last_step = step
        self._news.set()
        self._listener.checkpoint(step, lora, state)


def _keep_for_second_try(state: Path, optimizer: Path, ours: Path) -> Path:
    optimizer.unlink()
    ours.unlink(missing_ok=True)
    os.link(state, ours)
    return ours
