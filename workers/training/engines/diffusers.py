"""The diffusers engine as its worker sees it: starts the child that trains, passes on what it says, and ends it.

The training itself is `diffusers_child`. It is a process of its own because a thread can't be cancelled and a crash in
native code must not take the worker along.
"""

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

from backend.contract import Phase
from backend.errors import (
    AtelierError,
    EngineDied,
    EngineError,
    InvalidRequest,
    MachineError,
    OutOfMemory,
    WeightsError,
)
from backend.settings import Settings
from workers.environment import child_environment
from workers.processes import Child, describe_exit, start_child
from workers.training.engines import STOP_S, Engine, EngineJob, Listener
from workers.training.engines.events import (
    STOP,
    WISHES,
    CheckpointSaved,
    Event,
    Failed,
    PhaseEntered,
    SampleSaved,
    StepDone,
    read_event,
)

CHILD = "workers.training.engines.diffusers_child"
SILENCE_S: dict[Phase, float] = {"loading model": 1800.0}  # 34 GB may come over a slow network volume
OTHER_SILENCE_S = 600.0
_ROOT = Path(__file__).resolve().parents[3]
_ERRORS: dict[str, type[AtelierError]] = {
    "engine": EngineError,
    "out of memory": OutOfMemory,
    "weights": WeightsError,
    "invalid request": InvalidRequest,
}


def make_engine(settings: Settings) -> Engine:
    """Return this engine; it needs nothing of the settings."""
    return train


async def train(job: EngineJob, listener: Listener) -> None:
    """Train in a child process until the last checkpoint.

    Raises OutOfMemory, EngineDied or EngineError in words. When cancelled, saves the step it is at before it re-raises.
    """
    conversation = _Conversation(listener, job.resume.step if job.resume else 0)
    child = await _start(job, conversation)
    try:
        code = await _wait(child, conversation, listener)
    except asyncio.CancelledError:
        await _stop(child)
        raise
    finally:
        await child.stop(0)
    if conversation.failure:
        failure = conversation.failure
        raise _ERRORS[failure.error](failure.message, failure.hint)
    if code != 0:
        raise _died(code, conversation, child)
    if conversation.saved_step != job.settings.steps:
        raise EngineError(
            f"The training ended at step {conversation.saved_step} of {job.settings.steps} without saying why.",
            "Start it again; it continues from its last checkpoint.",
        )


def _threads() -> dict[str, str]:
    """All cores but one: it stays for the screen and for prompting a checkpoint meanwhile.

    Threads that spin while they wait (OpenMP's default) slow everything beside them three to five times.
    """
    return {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) - 1))}


class _Conversation:
    """Hears the child's lines and passes them on."""

    def __init__(self, listener: Listener, step: int) -> None:
        self._listener = listener
        self.phase: Phase = "starting"
        self.step = self.saved_step = step
        self.failure: Failed | None = None
        self.heard_at = time.monotonic()

    def hear(self, line: str) -> None:
        event = read_event(line)
        if event is None:
            self._listener.log(line)
            return
        self.heard_at = time.monotonic()
        self._pass_on(event)

    def _pass_on(self, event: Event) -> None:
        match event:
            case PhaseEntered():
                self.phase = event.phase
                self._listener.phase(event.phase, event.message)
            case StepDone():
                self.step = event.step
                self._listener.step(
                    event.step,
                    loss=event.loss,
                    learning_rate=event.learning_rate,
                    seconds_per_step=event.seconds_per_step,
                )
            case SampleSaved():
                self._listener.sample(event.step, event.index, event.path)
            case CheckpointSaved():
                self.saved_step = event.step
                self._listener.checkpoint(event.step, event.path, event.state)
            case Failed():
                self.failure = event


async def _start(job: EngineJob, conversation: _Conversation) -> Child:
    job.output.mkdir(parents=True, exist_ok=True)
    file = job.output / "job.json"
    await asyncio.to_thread(file.write_text, job.model_dump_json(), encoding="utf-8")
    return await start_child(
        [sys.executable, "-m", CHILD, file],
        environment=child_environment(
            {
                **_threads(),
                "PYTHONPATH": str(_ROOT),
                "PYTHONUNBUFFERED": "1",
                "HF_HUB_OFFLINE": "1",
                "TOKENIZERS_PARALLELISM": "false",
                "TRANSFORMERS_VERBOSITY": "error",
                "DIFFUSERS_VERBOSITY": "error",
                "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
                "HOME": str(job.output),  # libraries that cache in the home folder write where it is cleaned up
            }
        ),
        name="The training process",
        folder=job.output,
        on_line=conversation.hear,
        stdin=True,
    )


async def _wait(child: Child, conversation: _Conversation, listener: Listener) -> int:
    """Return the child's exit code. Raises EngineError when it has been silent for too long."""
    ended = asyncio.ensure_future(child.wait())
    wishes = asyncio.create_task(_pass_on_wishes(child, listener))
    try:
        return await _ended(ended, conversation)
    finally:
        wishes.cancel()


async def _pass_on_wishes(child: Child, listener: Listener) -> None:
    with contextlib.suppress(MachineError):  # it has ended
        while True:
            await child.write(WISHES[await listener.asked()])


async def _ended(ended: asyncio.Future[int], conversation: _Conversation) -> int:
    while True:
        limit_s = SILENCE_S.get(conversation.phase, OTHER_SILENCE_S)
        left_s = conversation.heard_at + limit_s - time.monotonic()
        done, _ = await asyncio.wait([ended], timeout=max(left_s, 0.05))
        if done:
            return ended.result()
        if left_s <= 0:
            raise EngineError(
                f"The training process said nothing for {limit_s / 60:g} minutes ({conversation.phase}, "
                f"step {conversation.step}), so it was ended.",
                "Start the run again; it continues from its last checkpoint.",
            )


async def _stop(child: Child) -> None:
    """Make the child save its step and end; kill it when that takes longer than `STOP_S`."""
    try:
        async with asyncio.timeout(STOP_S):
            await child.write(STOP)
            await child.wait()
    except (TimeoutError, AtelierError):
        pass  # the caller kills it; the last checkpoint stands


def _died(code: int, conversation: _Conversation, child: Child) -> EngineDied:
    where = f"during '{conversation.phase}' at step {conversation.step}"
    if code == -9:
        return EngineDied(
            f"The training process was killed {where}; most probably the computer ran out of memory.",
            "Close other programs, or lower the batch size, the rank or the resolution, and start it again.",
        )
    words = [line for line in child.last_lines(20) if read_event(line) is None][-3:]
    said = f" Its last words: {' / '.join(words)}" if words else ""
    return EngineDied(f"The training process {describe_exit(code)} {where}.{said}", "Start it again to resume.")
