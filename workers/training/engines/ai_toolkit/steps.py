"""Which steps ai-toolkit has done, as its loss log says, and its progress bar where that says nothing."""

import asyncio
import statistics
import time
from collections import deque

from backend.errors import EngineError
from workers.training.engines import EngineJob, Listener
from workers.training.engines.ai_toolkit.files import save_folder
from workers.training.engines.ai_toolkit.progress import BarLine, LossLog

_SMOOTHED_STEPS = 11


class Steps:
    """The steps of one attempt, each told once and in order."""

    def __init__(self, job: EngineJob, listener: Listener) -> None:
        self._listener = listener
        self._resumed_at = job.resume.step if job.resume else 0
        self._losses = LossLog(save_folder(job) / "loss_log.db")
        self._bar: BarLine | None = None
        self._seen: dict[int, BarLine] = {}  # steps that the bar has shown and nobody was told of
        self._times: deque[float] = deque(maxlen=_SMOOTHED_STEPS)
        self._since = time.monotonic()
        self.last = self._resumed_at

    def begin(self) -> None:
        """Say that the first step is being done."""
        self._since = time.monotonic()

    def bar_moved(self, bar: BarLine) -> None:
        """Note what the training's progress bar says: a step's loss first, and only then, or never, its number."""
        is_new = self._bar is None or (bar.loss, bar.learning_rate) != (self._bar.loss, self._bar.learning_rate)
        self._bar = bar
        if is_new:
            self._seen[bar.counted + 1] = bar

    async def tell_new(self) -> None:
        """Tell the listener of the steps since the last call. Raises EngineError when they begin at a wrong one."""
        logged_steps = await asyncio.to_thread(self._losses.read_new)
        for logged in logged_steps:
            if logged.step <= self._resumed_at:
                raise EngineError(
                    f"ai-toolkit began again at step {logged.step} and not behind step {self._resumed_at}.",
                    "Start the training again from the beginning.",
                )
            self._times.append(logged.at)
            self._tell_seen(before=logged.step)  # the first one is never logged
            self._tell(logged.step, logged.loss, logged.learning_rate, self._seconds_per_step())
        if not logged_steps:
            self._tell_seen()

    async def tell_rest(self) -> None:
        """Tell of all that is left when ai-toolkit has ended: it logs four times a second, and may end in between."""
        await self.tell_new()
        self._tell_seen()

    def _tell_seen(self, before: int | None = None) -> None:
        for step in sorted(self._seen):
            if before is None or step < before:
                bar = self._seen.pop(step)
                self._tell(step, bar.loss, bar.learning_rate, bar.seconds_per_step)

    def _tell(self, step: int, loss: float, learning_rate: float, seconds_per_step: float) -> None:
        self._seen.pop(step, None)
        if step > self.last:
            self.last = step
            self._listener.step(step, loss=loss, learning_rate=learning_rate, seconds_per_step=seconds_per_step)

    def _seconds_per_step(self) -> float:
        # The median, because a step at which samples are made takes as long as they do.
        gaps = [after - before for before, after in zip(list(self._times), list(self._times)[1:], strict=False)]
        return statistics.median(gaps) if gaps else time.monotonic() - self._since
