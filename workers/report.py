"""What a run says about itself while it works: phases with times, steps, loss, samples, checkpoints, log lines.

A Report only collects. `publish` stores what has changed; whoever runs the job calls it once a second. Both are called
from the event loop's thread alone.
"""

import time
from collections import deque

from backend.contract import Checkpoint, Metrics, Phase, PhaseTime, Progress, Sample
from backend.keys import RunKeys
from backend.storage import Storage

METRICS_STEPS = 500  # steps in one stored stretch of the loss curve
LOG_LINES = 2000  # the log's tail that is kept
LOG_EVERY_S = 5.0
_SMOOTHING = 0.9


class Report:
    """The story of one attempt at one run, which somebody waited `queued_s` for."""

    def __init__(
        self, keys: RunKeys, attempt: int, before: Progress | None = None, job_id: str = "", queued_s: float = 0.0
    ) -> None:
        self._keys = keys
        self._attempt = attempt
        self._job_id = job_id
        self._seq = 0
        self._seconds: dict[Phase, float] = {}
        self._phase: Phase = "starting"
        self._phase_since = time.monotonic()
        self._step = self._steps = 0
        self._loss: float | None = None
        self._learning_rate: float | None = None
        self._seconds_per_step: float | None = None
        self._message = ""
        self._curve: dict[int, tuple[float, float]] = {}  # step → (loss, learning rate)
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._changed = True
        self._unstored_metrics: set[int] = set()  # first steps of stretches
        self._log_changed = False
        self._log_stored_at = 0.0
        self._preview: bytes | None = None  # not stored yet
        self._has_preview = False
        self._preview_index = 0
        self._takes_wishes = False
        self.checkpoints: list[Checkpoint] = []
        self.samples: list[Sample] = []
        if before:
            self._go_on_from(before)
        # A job that is handed out again after a crash was waited for once.
        if before is None or before.attempt < attempt:
            self._seconds["queued"] = self._seconds.get("queued", 0.0) + queued_s

    # -------------------------------------------------------------------------------- said by the work

    def phase(self, phase: Phase, message: str = "") -> None:
        """Enter a phase; the time since the last call belongs to the one before."""
        if phase != self._phase:
            self.log(f"{phase}: {message}" if message else phase)
        now = time.monotonic()
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._phase_since
        self._phase, self._phase_since, self._message = phase, now, message
        self._changed = True

    def step(
        self,
        step: int,
        steps: int,
        *,
        loss: float | None = None,
        learning_rate: float | None = None,
        seconds_per_step: float | None = None,
    ) -> None:
        """Say that `step` of `steps` are done; a loss adds a point to the curve."""
        self._step, self._steps = step, steps
        self._seconds_per_step = seconds_per_step
        if learning_rate is not None:
            self._learning_rate = learning_rate
        if loss is not None:
            self._loss = loss if self._loss is None else _SMOOTHING * self._loss + (1 - _SMOOTHING) * loss
            self._curve[step] = (loss, self._learning_rate or 0.0)
            self._unstored_metrics.add(step // METRICS_STEPS * METRICS_STEPS)
        self._changed = True

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Say that a checkpoint is in storage and can be prompted."""
        self.checkpoints.append(checkpoint)
        self._changed = True

    def sample(self, sample: Sample) -> None:
        """Say that a sample picture is in storage."""
        self.samples.append(sample)
        self._changed = True

    def takes_wishes(self, does: bool) -> None:
        """Say whether somebody may ask for a checkpoint or for samples from now on."""
        self._takes_wishes, self._changed = does, True

    def preview(self, index: int, jpeg: bytes) -> None:
        """Show what picture `index` looks like so far, in place of what was shown before."""
        self._preview, self._preview_index, self._has_preview, self._changed = jpeg, index, True, True

    def log(self, line: str) -> None:
        """Add a line to the run's log."""
        self._log.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {line}")
        self._log_changed = True

    # -------------------------------------------------------------------------------- asked by the runtime

    @property
    def phases(self) -> list[PhaseTime]:
        """The phases so far with their times, the present one included."""
        seconds = dict(self._seconds)
        seconds[self._phase] = seconds.get(self._phase, 0.0) + time.monotonic() - self._phase_since
        return [PhaseTime(phase=phase, seconds=round(spent, 2)) for phase, spent in seconds.items()]

    @property
    def last_step(self) -> int:
        """The last step that was done."""
        return self._step

    def _go_on_from(self, before: Progress) -> None:
        """Take over what an earlier attempt said, so that nothing is missing on the screen until `resume`."""
        self._seq, self._step, self._steps, self._loss = before.seq, before.step, before.steps, before.loss
        self._seconds = {phase.phase: phase.seconds for phase in before.phases}
        self.checkpoints, self.samples = list(before.checkpoints), list(before.samples)

    def resume(self, step: int, checkpoints: list[Checkpoint], samples: list[Sample], storage: Storage) -> None:
        """Go back to `step`, with what is kept from the time before it. Blocks."""
        first = step // METRICS_STEPS * METRICS_STEPS
        stored = [found.key for found in storage.loras.list_all(self._keys.all_metrics)]
        storage.loras.delete([key for key in stored if key > self._keys.metrics(first)])
        stretch = storage.loras.find_message(self._keys.metrics(first), Metrics)
        points = zip(stretch.steps, stretch.loss, stretch.learning_rate, strict=True) if stretch else ()
        self._curve = {at: (loss, rate) for at, loss, rate in points if at <= step}
        self._step, self.checkpoints, self.samples = step, list(checkpoints), list(samples)
        self._changed = True

    def snapshot(self) -> Progress:
        """Return what is to be seen now."""
        left = None
        if self._seconds_per_step is not None and self._steps:
            left = round((self._steps - self._step) * self._seconds_per_step, 1)
        return Progress(
            run_id=self._keys.run_id,
            attempt=self._attempt,
            job_id=self._job_id,
            seq=self._seq,
            updated_at=time.time(),
            phase=self._phase,
            phases=self.phases,
            step=self._step,
            steps=self._steps,
            loss=self._loss,
            learning_rate=self._learning_rate,
            seconds_per_step=self._seconds_per_step,
            seconds_left=left,
            message=self._message,
            preview_key=self._keys.preview if self._has_preview else None,
            preview_index=self._preview_index,
            takes_wishes=self._takes_wishes,
            checkpoints=list(self.checkpoints),
            samples=list(self.samples),
        )

    def take_changes(self, *, all_of_it: bool = False) -> "Changes":
        """Return what has not been stored yet and take it for stored. The log waits its turn unless `all_of_it`."""
        progress = metrics = log = None
        if self._changed or all_of_it:
            self._seq += 1
            progress, self._changed = self.snapshot(), False
        metrics = {first: self._stretch(first) for first in sorted(self._unstored_metrics)}
        self._unstored_metrics.clear()
        if self._log_changed and (all_of_it or time.monotonic() - self._log_stored_at > LOG_EVERY_S):
            log, self._log_changed, self._log_stored_at = "\n".join(self._log) + "\n", False, time.monotonic()
        preview, self._preview = self._preview, None
        return Changes(self._keys, progress, metrics, log, preview)

    def put_back(self, changes: "Changes") -> None:
        """Take changes that could not be stored for changes again."""
        self._changed = True
        self._log_changed = self._log_changed or changes.log is not None
        self._unstored_metrics |= changes.metrics.keys()

    def _stretch(self, first: int) -> Metrics:
        steps = [step for step in sorted(self._curve) if first <= step < first + METRICS_STEPS]
        return Metrics(
            steps=steps,
            loss=[self._curve[step][0] for step in steps],
            learning_rate=[self._curve[step][1] for step in steps],
        )


class Changes:
    """What one publication stores: taken in the event loop, stored in a thread."""

    def __init__(
        self,
        keys: RunKeys,
        progress: Progress | None,
        metrics: dict[int, Metrics],  # by the first step of the stretch
        log: str | None,
        preview: bytes | None = None,
    ) -> None:
        self.keys, self.progress, self.metrics, self.log, self.preview = keys, progress, metrics, log, preview

    def store(self, storage: Storage) -> None:
        """Write it. Blocks."""
        for first, stretch in self.metrics.items():
            storage.loras.put_message(self.keys.metrics(first), stretch)
        if self.log is not None:
            storage.loras.put(self.keys.log, self.log.encode())
        if self.preview is not None:
            storage.loras.put(self.keys.preview, self.preview)
        if self.progress is not None:
            storage.loras.put_message(self.keys.progress, self.progress)
