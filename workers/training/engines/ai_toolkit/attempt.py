"""The ai_toolkit engine: runs ai-toolkit as it is published, follows it, and ends it without losing a step.

What it is told is rendered by `backend.toolkit_config`; what it says is read by `ai_toolkit_progress`.
"""

import asyncio
import contextlib
import os
import sqlite3
import statistics
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

from backend.contract import BaseModelSpec, Phase, TrainingSettings
from backend.errors import AtelierError, EngineError, OutOfMemory
from backend.settings import Settings
from backend.toolkit_config import job_name, leaner, memory_plan, toolkit_block
from workers.processes import Child, Guard, child_environment, guarded, start_child
from workers.training.engines import STOP_S, Engine, EngineJob, Listener, ResumePoint
from workers.training.engines.ai_toolkit_ending import Ending, judge
from workers.training.engines.ai_toolkit_files import (
    OPTIMIZER,
    check_lora,
    keep_lora,
    keep_sample,
    lay_out,
    pack_state,
    save_folder,
    step_of,
    toolkit_folder,
)
from workers.training.engines.ai_toolkit_progress import (
    ESCAPE,
    JOB_ID,
    LOSS_IS_NAN,
    OUT_OF_MEMORY,
    SAMPLE_NAME,
    SAVED_LORA,
    SAVED_OPTIMIZER,
    SKIPPED_BATCH,
    BarLine,
    JobDatabase,
    JobRow,
    LossLog,
    is_bar,
    phase_of,
    read_bar,
)
from workers.training.engines.gpu import gpu_memory_gb
from workers.weights import hub_cache

NAN_STEPS_ALLOWED = 20  # ai-toolkit goes on with zeros, and a LoRA of zeros comes out
_SMOOTHED_STEPS = 11


class Patience(NamedTuple):
    """How long things may take, in seconds."""

    poll_s: float = 0.5
    loading_s: float = 1800.0  # 34 GB may come over a slow network volume
    other_s: float = 900.0  # a step, a sample or a cached picture, not the whole of them
    save_s: float = STOP_S - 1  # from asking for a save until it lies there, verified; ending it takes the rest


def make_engine(settings: Settings, patience: Patience | None = None) -> Engine:
    """Return the engine that trains with the ai-toolkit that the settings name."""
    patience = patience or Patience()

    async def train(job: EngineJob, listener: Listener) -> None:
        await _train(job, listener, settings, patience)

    return train


def check(spec: BaseModelSpec, settings: TrainingSettings) -> None:
    """Raise InvalidRequest, naming the field, for what ai-toolkit can't train."""
    memory_plan(settings, toolkit_block(spec).memory, gpu_memory_gb=0)


async def _train(job: EngineJob, listener: Listener, settings: Settings, patience: Patience) -> None:
    """Train, and once more with less when the memory runs out."""
    limits = toolkit_block(job.spec).memory
    memory_gb = await gpu_memory_gb(listener)
    first = _Attempt(job, listener, patience)
    try:
        await first.run(settings, memory_gb)
    except OutOfMemory as error:
        again = job.model_copy(update={"settings": leaner(job.settings, limits), "resume": first.resume_point})
        if again.settings == job.settings:
            raise
        listener.log(f"{error.message} Trying again with {_in_words(again)}.")
        listener.phase("starting", f"out of memory; trying again with {_in_words(again)}")
        await _Attempt(again, listener, patience).run(settings, memory_gb)


def _in_words(job: EngineJob) -> str:
    sides = ", ".join(str(side) for side in job.settings.resolution)
    return f"every memory saving on, pictures of {sides} pixels and batches of {job.settings.batch_size}"


class _Attempt:
    """One run of ai-toolkit, from its folder to its end."""

    def __init__(self, job: EngineJob, listener: Listener, patience: Patience) -> None:
        self._job, self._listener, self._patience = job, listener, patience
        self._database = JobDatabase(toolkit_folder(job) / "job.db")
        self._losses = LossLog(save_folder(job) / "loss_log.db")
        self._row = JobRow("queued", "", 0)
        self._said: tuple[Phase, str] = ("starting", "")
        self._step = job.resume.step if job.resume else 0
        self._saved_step = self._step
        self._saved = asyncio.Event()
        self._first_bar: BarLine | None = None  # of this attempt's first step, which no loss log has
        self._bar: BarLine | None = None
        self._log_works = False
        self._times: deque[float] = deque(maxlen=_SMOOTHED_STEPS)
        self._training_since = time.monotonic()
        self._samples: set[str] = set()  # files that were looked at
        self._sampled: set[tuple[int, int]] = set()  # steps and prompts; what is asked for may come when it is due, too
        self._taken: set[int] = set()  # steps whose save was kept
        self._unpaired: Path | None = None  # a LoRA that was written and whose optimizer was not yet
        self._saves: asyncio.Queue[tuple[Path, Path | None]] = asyncio.Queue()
        self._broken: AtelierError | None = None
        self._nan_steps = 0
        self._out_of_memory = False
        self._heard_at = time.monotonic()
        self.resume_point = job.resume  # the newest state, kept here for a second try

    async def run(self, settings: Settings, gpu_memory_gb: float) -> None:
        """Train to the end. Raises OutOfMemory, EngineDied or EngineError in words; cancelled, saves the step first."""
        self._listener.phase("starting")
        config = await asyncio.to_thread(lay_out, self._job, gpu_memory_gb)
        await asyncio.to_thread(self._database.create, job_name(self._job.stem))
        async with guarded() as guard:
            child = await self._start(settings, config, guard)
            keeping = asyncio.create_task(self._keep_saves())
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
        judge(
            Ending(
                code=code,
                row=self._row,
                where=self._where(),
                finished=self._saved_step == self._job.settings.steps,
                saved_step=self._saved_step,
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
                    "HF_HUB_CACHE": str(hub_cache(settings)),
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
        await self._saves.join()
        return ended.result()

    async def _look(self) -> None:
        """Read what has changed and tell the listener."""
        before = (self._row, self._step)
        with contextlib.suppress(sqlite3.OperationalError):  # locked for longer than we wait: the next look will do
            self._row = await asyncio.to_thread(self._database.read)
        self._tell_phase()
        logged_steps = await asyncio.to_thread(self._losses.read_new)
        if self._first_bar:
            self._done(*self._first_bar)
        for logged in logged_steps:
            self._log_works = True
            self._times.append(logged.at)
            self._done(logged.step, logged.loss, logged.learning_rate, self._seconds_per_step())
        if self._bar and not self._log_works:
            self._done(*self._bar)
        await self._pass_on_samples()
        if before != (self._row, self._step):
            self._heard_at = time.monotonic()
        if self._broken:
            raise self._broken

    def _tell_phase(self) -> None:
        phase = phase_of(self._row.info)
        message = "" if phase in ("starting", "training", "saving", "caching") else self._row.info
        if self._nan_steps:
            message = f"{message} (the loss was not a number in {self._nan_steps} steps)".strip()
        if self._row.status == "running" and (phase, message) != self._said:
            if phase == "training" and self._said[0] != "training":
                self._training_since = time.monotonic()
            self._said = (phase, message)
            self._listener.phase(phase, message)

    def _done(self, step: int, loss: float, learning_rate: float, seconds_per_step: float) -> None:
        if self._job.resume and step <= self._job.resume.step and self._log_works:
            raise EngineError(
                f"ai-toolkit began again at step {step} and not behind step {self._job.resume.step}.",
                "Start the training again from the beginning.",
            )
        if step <= self._step:
            return
        self._step = step
        self._listener.step(step, loss=loss, learning_rate=learning_rate, seconds_per_step=seconds_per_step)

    def _seconds_per_step(self) -> float:
        # The median, because a step at which samples are made takes as long as they do.
        gaps = [after - before for before, after in zip(list(self._times), list(self._times)[1:], strict=False)]
        return statistics.median(gaps) if gaps else time.monotonic() - self._training_since

    async def _pass_on_samples(self) -> None:
        for path in await asyncio.to_thread(_pictures_in, save_folder(self._job) / "samples"):
            name = SAMPLE_NAME.search(path.name)
            if path.name in self._samples or not name:
                continue
            self._samples.add(path.name)
            step, index = int(name["step"]), int(name["index"])
            resume = self._job.resume
            if (resume and resume.step == step and index in resume.samples) or (step, index) in self._sampled:
                continue  # stored, by an earlier attempt or this one
            self._sampled.add((step, index))
            self._heard_at = time.monotonic()
            self._listener.sample(step, index, await asyncio.to_thread(keep_sample, path, self._job, step, index))

    def _check_stalled(self, child: Child) -> None:
        limit_s = self._patience.loading_s if self._said[0] == "loading model" else self._patience.other_s
        if child.running and time.monotonic() - self._heard_at > limit_s:
            raise EngineError(
                f"ai-toolkit said nothing for {limit_s / 60:g} minutes ({self._where()}), so it was ended.",
                "Start the run again; it goes on from its last checkpoint.",
            )

    def _where(self) -> str:
        return f"{self._said[0]}, step {self._step} of {self._job.settings.steps}"

    async def _pass_on_wishes(self) -> None:
        while True:
            wish = await self._listener.asked()
            with contextlib.suppress(sqlite3.OperationalError):  # locked for too long: it can be asked again
                await asyncio.to_thread(self._database.ask_for, wish)

    # -------------------------------------------------------------------------------- its lines

    def _hear(self, line: str) -> None:
        self._heard_at = time.monotonic()
        line = ESCAPE.sub("", line).strip()
        if bar := read_bar(line):
            self._bar = bar
            if bar.step == self._step + 1 and self._first_bar is None:
                self._first_bar = bar
        if line and not is_bar(line):
            self._listener.log(line)
        if saved := SAVED_LORA.search(line):
            self._unpaired = Path(saved["path"])
        elif SAVED_OPTIMIZER.search(line):
            self._take_save()
        elif LOSS_IS_NAN.search(line):
            self._count_nan()
        elif OUT_OF_MEMORY.search(line) and not SKIPPED_BATCH.search(line):
            self._out_of_memory = True

    def _take_save(self) -> None:
        """Take what was saved before the next save overwrites it, and leave the rest to `_keep_saves`."""
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
            self._broken = EngineError(f"The checkpoint of step {step} could not be kept: {error}.", "Check the disk.")
            return
        self._saves.put_nowait((lora, taken if taken.exists() else None))

    async def _keep_saves(self) -> None:
        """Verify each save and tell the listener of it."""
        while True:
            lora, optimizer = await self._saves.get()
            try:
                await self._keep(lora, optimizer)
            except AtelierError as error:
                self._broken = error
            except OSError as error:
                self._broken = EngineError(f"{lora.name} could not be kept: {error}.", "Check the disk.")
            finally:
                self._saves.task_done()

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
        self._saved_step = step
        self._saved.set()
        self._listener.checkpoint(step, lora, state)

    def _count_nan(self) -> None:
        self._nan_steps += 1
        if self._nan_steps > NAN_STEPS_ALLOWED:
            self._broken = EngineError(
                f"The loss was not a number in {self._nan_steps} steps, so nothing was being learned "
                f"({self._where()}).",
                "Lower the learning rate; the checkpoints before are kept.",
            )

    # -------------------------------------------------------------------------------- ending it

    async def _save(self, child: Child) -> None:
        """Make it save the step it is at if there is time; else the newest checkpoint stands."""
        if not child.running or self._step <= max(1, self._saved_step):
            return
        self._saved.clear()
        saved, ended = asyncio.ensure_future(self._saved.wait()), asyncio.ensure_future(child.wait())
        try:
            async with asyncio.timeout(self._patience.save_s):
                await asyncio.to_thread(self._database.ask_for, "save")
                await asyncio.wait([saved, ended], return_when=asyncio.FIRST_COMPLETED)
                await self._look()  # the steps up to the save
        except (TimeoutError, AtelierError, sqlite3.Error) as error:
            self._listener.log(
                f"step {self._step} could not be saved within {self._patience.save_s:g} s ({type(error).__name__}); "
                f"the last saved step is {self._saved_step}"
            )
        finally:
            saved.cancel()
            ended.cancel()


def _keep_for_second_try(state: Path, optimizer: Path, ours: Path) -> Path:
    optimizer.unlink()
    ours.unlink(missing_ok=True)
    os.link(state, ours)
    return ours


def _pictures_in(folder: Path) -> list[Path]:
    # By name, so by time: a name begins with the milliseconds at which it was made.
    return sorted(path for path in folder.glob("*.webp") if not path.name.startswith("."))
