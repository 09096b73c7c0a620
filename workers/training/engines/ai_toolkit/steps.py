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
        self._first_bar: BarLine | None = None  # of this attempt's first step, which no loss log has
        self._bar: BarLine | None = None
        self._log_works = False
        self._times: deque[float] = deque(maxlen=_SMOOTHED_STEPS)
        self._since = time.monotonic()
        self.last = self._resumed_at

    def begin(self) -> None:
        """Say that the first step is being done."""
        self._since = time.monotonic()

    def bar_moved(self, bar: BarLine) -> None:
        """Note what the training's progress bar says."""
        self._bar = bar
        if bar.step == self.last + 1 and self._first_bar is None:
            self._first_bar = bar

    async def tell_new(self) -> None:
        """Tell the listener of the steps since the last call. Raises EngineError when they begin at a wrong one."""
        logged_steps = await asyncio.to_thread(self._losses.read_new)
        if self._first_bar:
            self._done(*self._first_bar)
        for logged in logged_steps:
            self._log_works = True
            self._times.append(logged.at)
            self._done(logged.step, logged.loss, logged.learning_rate, self._seconds_per_step())
        if self._bar and not self._log_works:
            self._done(*self._bar)

    def _done(self, step: int, loss: float, learning_rate: float, seconds_per_step: float) -> None:
        if step <= self._resumed_at and self._log_works:
            raise EngineError(
                f"ai-toolkit began again at step {step} and not behind step {self._resumed_at}.",
                "Start the training again from the beginning.",
            )
        if step <= self.last:
            return
        self.last = step
        self._listener.step(step, loss=loss, learning_rate=learning_rate, seconds_per_step=seconds_per_step)

    def _seconds_per_step(self) -> float:
        # The median, because a step at which samples are made takes as long as they do.
        gaps = [after - before for before, after in zip(list(self._times), list(self._times)[1:], strict=False)]
        return statistics.median(gaps) if gaps else time.monotonic() - self._since
