"""RunPod job ↔ typed call: parse, run, report, and turn whatever goes wrong into a failure record.

One run is done once: a job whose run already has the result it asks for is answered with that. The work itself sees a
Run and returns a result message; it knows nothing of RunPod.
"""

import asyncio
import contextlib
import errno
import logging
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from backend.base_models import load_base_model
from backend.contract import (
    BaseModelSpec,
    FailureKind,
    GenerationResult,
    JobFailure,
    Progress,
    Request,
    RunId,
    RunKind,
    Submission,
    TrainingRequest,
    TrainingResult,
    explain,
    new_run_id,
)
from backend.errors import (
    AtelierError,
    Cancelled,
    EngineError,
    InvalidRequest,
    MachineError,
    NotFound,
    OutOfMemory,
    ServiceError,
    StorageError,
    WeightsError,
)
from backend.keys import RunKeys, direct_job_key
from backend.settings import Settings
from backend.storage import Storage
from workers.publication import published
from workers.report import Report

_log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=Request)
Result = TrainingResult | GenerationResult

# The first class that fits names the failure.
_KINDS: tuple[tuple[type[AtelierError], FailureKind], ...] = (
    (InvalidRequest, "invalid request"),
    (NotFound, "not found"),
    (Cancelled, "cancelled"),
    (OutOfMemory, "out of memory"),
    (EngineError, "engine"),
    (WeightsError, "weights"),
    (ServiceError, "service"),
)


@dataclass(frozen=True)
class Run(Generic[Q]):
    """One run as the work sees it. `folder` is its own, empty, and gone afterwards."""

    request: Q
    spec: BaseModelSpec
    keys: RunKeys
    settings: Settings
    storage: Storage
    report: Report
    folder: Path


Work = Callable[[Run[Q]], Awaitable[Result]]


class Worker(Generic[Q]):
    """A RunPod handler for one kind of request."""

    def __init__(self, kind: RunKind, request_type: type[Q], work: Work[Q], settings: Settings) -> None:
        self._kind = kind
        self._request_type = request_type
        self._work = work
        self._settings = settings
        self._storage = Storage(settings, patient=True)
        self._under_way: set[asyncio.Task[Any]] = set()  # jobs
        self._hears_shutdown = self._stopping = False

    def serve(self) -> None:
        """Take jobs until the platform stops this process."""
        import runpod  # reads its addresses from the environment when imported

        runpod.serverless.start({"handler": self.handle})

    async def handle(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do one job. Returns the result, or {"error": sentence}; a cancelled job raises as RunPod expects."""
        self._save_on_shutdown()
        task = asyncio.current_task()
        assert task, "a coroutine runs in a task"  # noqa: S101
        self._under_way.add(task)
        try:
            return await self._do(job)
        finally:
            self._under_way.discard(task)

    async def _do(self, job: dict[str, Any]) -> dict[str, Any]:
        try:
            request, spec, keys = await asyncio.to_thread(self._accept, job)
            if done := await asyncio.to_thread(self._existing_result, request, spec, keys):
                return done.model_dump(mode="json")
            before, submission = await asyncio.gather(
                asyncio.to_thread(self._storage.loras.find_message, keys.progress, Progress),
                asyncio.to_thread(self._storage.loras.find_message, keys.submission, Submission),
            )
        except AtelierError as error:
            return await self._refuse(job, error)
        if _is_called_off(request, submission):
            return {"error": "This run was cancelled, or asked for anew, before this job came to its turn."}
        report = Report(keys, request.attempt, before, job_id=str(job["id"]), queued_s=_queued_s(request, submission))
        with _own_folder() as folder:
            return await self._attempt(Run(request, spec, keys, self._settings, self._storage, report, folder), job)

    async def _attempt(self, run: Run[Q], job: dict[str, Any]) -> dict[str, Any]:
        limit = asyncio.timeout(_seconds_allowed(run.request))
        try:
            async with published(run.report, self._storage, partial(_tell_runpod, job)), limit:
                result = await self._work(run)
            await asyncio.to_thread(self._storage.loras.put_message, run.keys.result, result)
            return result.model_dump(mode="json")
        except asyncio.CancelledError:
            # A worker that is told to go leaves the run as it is: the next worker resumes it.
            if not self._stopping:
                await self._fail(run, Cancelled("Cancelled.", _kept(run.report)))
            raise
        except AtelierError as error:
            return await self._fail(run, error)
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                return await self._fail(run, Cancelled("Stopped at its time limit.", _kept(run.report)))
            _log.exception("run %s failed", run.keys.run_id)
            return await self._fail(run, _in_words(error))

    async def _fail(self, run: Run[Q], error: AtelierError) -> dict[str, Any]:
        failure = _failure(run.keys.run_id, run.request.attempt, error)
        so_far = {
            "step": run.report.last_step,
            "phases": run.report.phases,
            "checkpoints": run.report.checkpoints,
            "samples": run.report.samples,
        }
        await self._keep(run.keys, failure.model_copy(update=so_far))
        return {"error": str(error)}

    async def _refuse(self, job: dict[str, Any], error: AtelierError) -> dict[str, Any]:
        """Keep why a studio's run was not begun: RunPod forgets what it is told within half an hour."""
        request = _of_studio(job)
        if request and request.run_id and not isinstance(error, StorageError):
            await self._keep(RunKeys(request.owner, request.run_id), _failure(request.run_id, request.attempt, error))
        return {"error": str(error)}

    async def _keep(self, keys: RunKeys, failure: JobFailure) -> None:
        try:
            await asyncio.to_thread(self._storage.loras.put_message, keys.failure, failure)
        except ServiceError:
            # RunPod still carries the sentence to whoever asks.
            _log.exception("the failure of run %s could not be stored", keys.run_id)

    def _save_on_shutdown(self) -> None:
        """Make the platform's SIGTERM end the work the way Cancel does, so that a training saves its step.

        The SDK installs its own handler when it starts, which only stops taking jobs; this one calls it too.
        """
        if self._hears_shutdown:
            return
        self._hears_shutdown = True
        before = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: Any) -> None:
            self._stopping = True
            for task in self._under_way:
                loop.call_soon_threadsafe(task.cancel)
            if callable(before):
                before(number, frame)

        signal.signal(signal.SIGTERM, stop)

    def _accept(self, job: dict[str, Any]) -> tuple[Q, BaseModelSpec, RunKeys]:
        try:
            request = self._request_type.model_validate(job.get("input"))
        except ValidationError as error:
            if _of_studio(job):  # which has checked it by its own contract
                raise ServiceError(
                    f"This worker doesn't understand the studio. {explain(error)}",
                    "Its image is of another version: build it again, push it and restart the endpoint's workers.",
                ) from error
            raise InvalidRequest(explain(error)) from error
        spec = request.base_model if isinstance(request.base_model, BaseModelSpec) else None
        spec = spec or load_base_model(request.base_model_id, self._settings.atelier_base_models)
        return request, spec, RunKeys(request.owner, request.run_id or self._run_id_for(job["id"]))

    def _run_id_for(self, job_id: str) -> str:
        """Choose a run id for a job that came without one, the same again when the job is handed out again."""
        key = direct_job_key(job_id)
        self._storage.loras.put(key, new_run_id(self._kind).encode(), if_absent=True)
        return self._storage.loras.get(key).decode()

    def _existing_result(self, request: Q, spec: BaseModelSpec, keys: RunKeys) -> Result | None:
        """Return what the run came to, if that is all that is asked for: a training may be asked for more steps."""
        if not isinstance(request, TrainingRequest):
            return self._storage.loras.find_message(keys.result, GenerationResult)
        done = self._storage.loras.find_message(keys.result, TrainingResult)
        if done is None or done.steps < request.settings_for(spec).steps:
            return None
        if done.attempt < request.attempt:  # a retry that was asked for while the attempt before it finished
            done = done.model_copy(update={"attempt": request.attempt})
            self._storage.loras.put_message(keys.result, done)
        return done


def serve(kind: RunKind, request_type: type[Q], make_work: Callable[[Settings], Work[Q]]) -> None:
    """Run a worker until the platform stops it; what `python -m workers.…` calls."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings = Settings()
    Worker(kind, request_type, make_work(settings), settings).serve()


def _of_studio(job: dict[str, Any]) -> Request | None:
    """Return what every version understands of a studio's request; None for one of a direct caller."""
    try:
        request = Request.model_validate(job.get("input"), extra="ignore")
    except ValidationError:
        return None
    return request if request.run_id else None


def _failure(run_id: RunId, attempt: int, error: AtelierError) -> JobFailure:
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), "internal")
    return JobFailure(run_id=run_id, attempt=attempt, kind=kind, message=error.message, hint=error.hint)


def _in_words(error: Exception) -> AtelierError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(
            "The worker's disk is full.", "Give its endpoint a larger one (disk_gb in assets/deploy.toml)."
        )
    return AtelierError("Something unexpected went wrong.", "The worker's log has more.")


def _is_called_off(request: Request, submission: Submission | None) -> bool:
    """Return whether nobody wants this job any more.

    Where an answer of RunPod's to the app was lost, it has two jobs of one run, and only one of them was cancelled.
    """
    if submission is None or submission.attempt < request.attempt:
        return False
    return submission.attempt > request.attempt or submission.cancelled


def _queued_s(request: Request, submission: Submission | None) -> float:
    """Return how long ago the app handed the job over; 0 where it has not even noted that yet."""
    if submission is None or submission.attempt != request.attempt:
        return 0.0
    return max(0.0, time.time() - submission.submitted_at)  # another computer's clock may be ahead of ours


def _seconds_allowed(request: Request) -> float | None:
    minutes = request.max_minutes if isinstance(request, TrainingRequest) else None
    return minutes * 60 if minutes else None


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _tell_runpod(job: dict[str, Any], progress: Progress) -> None:
    import runpod

    said = {"seq": progress.seq, "phase": progress.phase, "step": progress.step, "steps": progress.steps}
    runpod.serverless.progress_update(job, said)


def _kept(report: Report) -> str:
    if not report.checkpoints:
        return ""
    return f"The checkpoint at step {report.checkpoints[-1].step} is kept; Resume continues from it."
