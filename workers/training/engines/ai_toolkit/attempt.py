"""One run of ai-toolkit: started, followed through its database, log and lines, and ended without losing a step.

What it is told is rendered by `backend.toolkit_config`; what its end means is judged by `ending`.
"""

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

from backend.contract import Phase
from backend.errors import EngineError
from backend.settings import Settings
from backend.toolkit_config import job_name
from workers.environment import child_environment
from workers.guard import Guard, guarded
from workers.processes import Child, start_child
from workers.training.engines import STOP_S, EngineJob, Listener, ResumePoint
from workers.training.engines.ai_toolkit.ending import Ending, judge
from workers.training.engines.ai_toolkit.files import lay_out, toolkit_folder
from workers.training.engines.ai_toolkit.progress import (
    ESCAPE,
    JOB_ID,
    LOSS_IS_NAN,
    OUT_OF_MEMORY,
    SAVED_LORA,
    SAVED_OPTIMIZER,
    SKIPPED_BATCH,
    JobDatabase,
    JobRow,
    is_bar,
    phase_of,
    read_bar,
)
from workers.training.engines.ai_toolkit.samples import Samples
from workers.training.engines.ai_toolkit.saves import Saves
from workers.training.engines.ai_toolkit.steps import Steps

NAN_STEPS_ALLOWED = 20  # ai-toolkit goes on with zeros, and a LoRA of zeros comes out


class Patience(NamedTuple):
    """How long things may take, in seconds."""

    poll_s: float = 0.5
    loading_s: float = 1800.0  # 34 GB may come over a slow network volume
    other_s: float = 900.0  # a step, a sample or a cached picture, not the whole of them
    save_s: float = STOP_S - 1  # from asking for a save until it lies there, verified; ending it takes the rest


class Attempt:
    """One run of ai-toolkit, from its folder to its end."""

    def __init__(self, job: EngineJob, listener: Listener, patience: Patience) -> None:
        self._job, self._listener, self._patience = job, listener, patience
        self._database = JobDatabase(toolkit_folder(job) / "job.db")
        self._steps, self._samples, self._saves = Steps(job, listener), Samples(job, listener), Saves(job, listener)
        self._row = JobRow("queued", "", 0)
        self._said: tuple[Phase, str] = ("starting", "")
        self._nan_steps = 0
        self._out_of_memory = False
        self._heard_at = time.monotonic()

    @property
    def resume_point(self) -> ResumePoint | None:
        """The newest state, where a second try may go on."""
        return self._saves.resume_point

    async def run(self, settings: Settings, gpu_memory_gb: float) -> None:
        """Train to the end. Raises OutOfMemory, EngineDied or EngineError in words; cancelled, saves the step first."""
        self._listener.phase("starting")
        config = await asyncio.to_thread(lay_out, self._job, gpu_memory_gb)
        await asyncio.to_thread(self._database.create, job_name(self._job.stem))
        async with guarded() as guard:
            child = await self._start(settings, config, guard)
            keeping = asyncio.create_task(self._saves.keep_forever())
            wishes = asyncio.create_task(self._pass_on_wishes())
            try:
                code = await self._follow(child)
            except asyncio.CancelledError:
                await self._save(child)
                raise
            finally:
                # Killed: it takes seconds to go by itself, and nothing is left that it could save.
                await child.stop(0)
                keeping.cancel()
                wishes.cancel()
                await asyncio.wait([keeping, wishes])
                await self._steps.tell_rest()
                await self._samples.tell_new()
        judge(
            Ending(
                code=code,
                row=self._row,
                where=self._where(),
                finished=self._saves.last_step == self._job.settings.steps,
                saved_step=self._saves.last_step,
                out_of_memory=self._out_of_memory,
                last_lines=child.last_lines(20),
            )
        )

    async def _start(self, settings: Settings, config: Path, guard: Guard) -> Child:
        return await start_child(
            [settings.ai_toolkit_python, "run.py", config],
            environment=child_environment(
                {
                    "AITK_JOB_ID": JOB_ID,
                    "PYTHONUNBUFFERED": "1",
                    "HF_HUB_CACHE": str(settings.hub_cache),
                    "HF_HUB_OFFLINE": "1",  # fetch_weights has brought all of it
                    "HOME": str(toolkit_folder(self._job)),
                    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
                }
            ),
            name="ai-toolkit",
            folder=settings.ai_toolkit_path,
            guard=guard,
            on_line=self._hear,
        )

    # -------------------------------------------------------------------------------- following it

    async def _follow(self, child: Child) -> int:
        """Return its exit code when it has ended and everything it left has been passed on."""
        ended = asyncio.ensure_future(child.wait())
        while not ended.done():
            await asyncio.wait([ended], timeout=self._patience.poll_s)
            await self._look()
            self._check_stalled(child)
        await self._look()  # it may have said how it ended, and ended, while we looked
        await self._saves.kept()
        self._check_saves()
        return ended.result()

    async def _look(self) -> None:
        """Read what has changed and tell the listener."""
        before = (self._row, self._steps.last)
        with contextlib.suppress(sqlite3.OperationalError):  # locked for longer than we wait: the next look will do
            self._row = await asyncio.to_thread(self._database.read)
        self._tell_phase()
        await self._steps.tell_new()
        any_samples = await self._samples.tell_new()
        if any_samples or before != (self._row, self._steps.last):
            self._heard_at = time.monotonic()
        self._check_saves()
        if self._nan_steps > NAN_STEPS_ALLOWED:
            raise EngineError(
                f"The loss was not a number in {self._nan_steps} steps, so nothing was being learned "
                f"({self._where()}).",
                "Lower the learning rate; the checkpoints before are kept.",
            )

    def _tell_phase(self) -> None:
        phase = phase_of(self._row.info)
        message = "" if phase in ("starting", "training", "saving", "caching") else self._row.info
        if self._nan_steps:
            message = f"{message} (the loss was not a number in {self._nan_steps} steps)".strip()
        if self._row.status == "running" and (phase, message) != self._said:
            if phase == "training" and self._said[0] != "training":
                self._steps.begin()
            self._said = (phase, message)
            self._listener.phase(phase, message)

    def _check_saves(self) -> None:
        if self._saves.broken:
            raise self._saves.broken

    def _check_stalled(self, child: Child) -> None:
        limit_s = self._patience.loading_s if self._said[0] == "loading model" else self._patience.other_s
        if child.running and time.monotonic() - self._heard_at > limit_s:
            raise EngineError(
                f"ai-toolkit said nothing for {limit_s / 60:g} minutes ({self._where()}), so it was ended.",
                "Start the run again; it continues from its last checkpoint.",
            )

    def _where(self) -> str:
        return f"{self._said[0]}, step {self._steps.last} of {self._job.settings.steps}"

    async def _pass_on_wishes(self) -> None:
        while True:
            wish = await self._listener.asked()
            with contextlib.suppress(sqlite3.OperationalError):  # locked for too long: it can be asked again
                await asyncio.to_thread(self._database.ask_for, wish)

    def _hear(self, line: str) -> None:
        """Take what it writes, line by line."""
        self._heard_at = time.monotonic()
        line = ESCAPE.sub("", line).strip()
        if bar := read_bar(line):
            self._steps.bar_moved(bar)
        if line and not is_bar(line):
            self._listener.log(line)
        if saved := SAVED_LORA.search(line):
            self._saves.lora_written(Path(saved["path"]))
        elif SAVED_OPTIMIZER.search(line):
            self._saves.optimizer_written()
        elif LOSS_IS_NAN.search(line):
            self._nan_steps += 1
        elif OUT_OF_MEMORY.search(line) and not SKIPPED_BATCH.search(line):
            self._out_of_memory = True

    # -------------------------------------------------------------------------------- ending it

    async def _save(self, child: Child) -> None:
        """Make it save the step it is at if there is time; else the newest checkpoint stands."""
        if not child.running or self._steps.last <= max(1, self._saves.last_step):
            return
        saved, ended = asyncio.ensure_future(self._saves.next()), asyncio.ensure_future(child.wait())
        try:
            async with asyncio.timeout(self._patience.save_s):
                await asyncio.to_thread(self._database.ask_for, "save")
                await asyncio.wait([saved, ended], return_when=asyncio.FIRST_COMPLETED)
        except (TimeoutError, sqlite3.Error) as error:
            self._listener.log(
                f"step {self._steps.last} could not be saved within {self._patience.save_s:g} s "
                f"({type(error).__name__}); the last saved step is {self._saves.last_step}"
            )
        finally:
            saved.cancel()
            ended.cancel()
