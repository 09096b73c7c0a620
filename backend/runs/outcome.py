"""What has become of a run: its result or failure in storage, else RunPod's status, else its last progress."""

import time

from backend.contract import (
    GenerationRequest,
    GenerationResult,
    JobFailure,
    Progress,
    RunKind,
    TrainingRequest,
    TrainingResult,
    created_at,
)
from backend.errors import NotFound, RunPodError
from backend.keys import RunKeys
from backend.runs.deadlines import may_take
from backend.runs.runpod_client import Endpoint, Job, JobStatus
from backend.runs.state import RunState, RunStatus, cancelled, failed, kind_of
from backend.runs.submissions import Submissions
from backend.storage import Bucket

SILENCE_S = 60.0  # a run without a job that said something more recently is taken to be alive
_HAND_OVER_S = 5.0  # what handing a run over takes at most when all is well
_NOT_HANDED_OVER = "RunPod doesn't have this yet. If that stays so for a minute, it can be started again here."
_CANCEL_GRACE_S = 20.0  # what a worker is given to save its last step and say so
_GOING_ON: dict[JobStatus, RunStatus] = {"IN_QUEUE": "queued", "IN_PROGRESS": "running"}


class Outcomes:
    """Finds out what has become of runs."""

    def __init__(self, bucket: Bucket, endpoints: dict[RunKind, Endpoint], submissions: Submissions) -> None:
        self._bucket = bucket
        self._endpoints = endpoints
        self._submissions = submissions

    def of(self, keys: RunKeys, request: TrainingRequest | GenerationRequest) -> RunState:
        """Return what has become of a run, as storage and RunPod have it now."""
        known = RunState(
            run_id=keys.run_id,
            kind=kind_of(request),
            status="queued",
            submitted_at=created_at(keys.run_id),
            request=request,
        )
        if ended := self._stored_end(keys, known):
            return ended
        progress = self._bucket.find_message(keys.progress, Progress)
        submission = self._submissions.of(keys, request.attempt)
        known = known.model_copy(update={"progress": progress})
        if submission is None:
            return self._without_job(known)
        known = known.model_copy(update={"queued_at": submission.submitted_at})
        try:
            job = self._endpoints[known.kind].status(submission.job_id)
        except NotFound:
            return self._without_job(known, was_cancelled=submission.cancelled)
        except RunPodError as error:
            # Its worker goes on, and stores what it does: that can be shown whoever else is away.
            going = "cancelling" if submission.cancelled else "running" if progress else "queued"
            unsure = f"{error.message} This is what was last stored; the run goes on without the studio."
            return known.model_copy(update={"status": going, "unsure": unsure})
        if job.status in _GOING_ON:
            return known.model_copy(update={"status": "cancelling" if submission.cancelled else _GOING_ON[job.status]})
        # The worker stored the end of the run before RunPod heard of it, so it may have come since we looked.
        return self._stored_end(keys, known) or self._end_without_record(known, job)

    def _stored_end(self, keys: RunKeys, known: RunState) -> RunState | None:
        if known.kind == "train":
            training = self._bucket.find_message(keys.result, TrainingResult)
            if training and training.attempt >= known.request.attempt:
                return known.model_copy(update={"status": "done", "training": training})
        elif generation := self._bucket.find_message(keys.result, GenerationResult):
            return known.model_copy(update={"status": "done", "generation": generation})
        failure = self._bucket.find_message(keys.failure, JobFailure)
        if failure and failure.attempt >= known.request.attempt:
            status = "cancelled" if failure.kind == "cancelled" else "failed"
            return known.model_copy(update={"status": status, "failure": failure})
        return None

    def _without_job(self, known: RunState, *, was_cancelled: bool = False) -> RunState:
        """The state of a run RunPod knows nothing of: it was never handed over, or has been forgotten."""
        last_seen = known.progress.updated_at if known.progress else known.submitted_at
        silent_s = time.time() - last_seen
        if silent_s < SILENCE_S:
            going = "cancelling" if was_cancelled else "running" if known.progress else "queued"
            unsure = _NOT_HANDED_OVER if going == "queued" and silent_s > _HAND_OVER_S else ""
            return known.model_copy(update={"status": going, "unsure": unsure})
        if was_cancelled:
            return cancelled(known)
        if known.progress:
            return failed(
                known, "lost", "The worker went silent, and RunPod no longer knows the job.", "Start it again."
            )
        return failed(known, "lost", "The run never reached RunPod.", "Start it again.")

    def _end_without_record(self, known: RunState, job: Job) -> RunState:
        """The state of a job that ended and left nothing in storage."""
        just_seen = known.progress is not None and time.time() - known.progress.updated_at < _CANCEL_GRACE_S
        match job.status:
            case "CANCELLED" if just_seen:
                return known.model_copy(update={"status": "cancelling"})  # its worker is saving
            case "CANCELLED":
                return cancelled(known)
            case "TIMED_OUT":
                hours = (known.paid_seconds or may_take(known.request)) / 3600
                return failed(
                    known, "failed", f"RunPod stopped the job after {hours:.1f} h.", "Start it again to continue."
                )
            case _:
                return failed(known, "failed", job.error or "The worker ended without a result.", "Start it again.")
