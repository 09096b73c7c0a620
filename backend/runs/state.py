"""What a run is seen to be: everything that a screen shows of one, and the ways it can have ended."""

from typing import Literal

from backend.contract import (
    GenerationRequest,
    GenerationResult,
    JobFailure,
    Message,
    Progress,
    Request,
    RunId,
    RunKind,
    TrainingRequest,
    TrainingResult,
    paid_seconds,
)

RunStatus = Literal["queued", "running", "cancelling", "done", "failed", "cancelled", "lost"]
ENDED: frozenset[RunStatus] = frozenset({"done", "failed", "cancelled", "lost"})


class RunState(Message):
    """Everything a screen shows of a run."""

    run_id: RunId
    kind: RunKind
    status: RunStatus
    submitted_at: float
    queued_at: float | None = None  # when its present attempt was handed over
    request: TrainingRequest | GenerationRequest
    progress: Progress | None = None
    training: TrainingResult | None = None
    generation: GenerationResult | None = None
    failure: JobFailure | None = None
    unsure: str = ""  # why this may be out of date, in words: RunPod could not be asked

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def job_at_work(self) -> str:
        """The job whose worker speaks of this attempt; '' before one does."""
        told = self.progress
        return told.job_id if told and told.attempt == self.request.attempt else ""

    @property
    def paid_seconds(self) -> float:
        """For how long it has been on a GPU, all its attempts together."""
        told = self.training or self.generation or self.failure or self.progress
        return paid_seconds(told.phases) if told else 0.0


def kind_of(request: Request) -> RunKind:
    """Return which of the two kinds of run a request asks for."""
    return "train" if isinstance(request, TrainingRequest) else "image"


def cancelled(known: RunState) -> RunState:
    """Return the state of a run that was cancelled and left no record of it."""
    return failed(known, "cancelled", "Cancelled." if known.progress else "Cancelled before it began.")


def failed(known: RunState, status: RunStatus, message: str, hint: str = "") -> RunState:
    """Return the state of a run that ended and left no record of it, with what it had made until then."""
    progress = known.progress
    failure = JobFailure(
        run_id=known.run_id,
        attempt=known.request.attempt,
        kind="cancelled" if status == "cancelled" else "internal",
        message=message,
        hint=hint,
        step=progress.step if progress else 0,
        phases=progress.phases if progress else [],
        checkpoints=progress.checkpoints if progress else [],
        samples=progress.samples if progress else [],
    )
    return known.model_copy(update={"status": status, "failure": failure})
