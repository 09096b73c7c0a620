"""Owns which worker holds which job, and says when one should stop, or go.

Starting and ending worker processes is the machine's part, and the SDK's calls come through `worker_calls`.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workers.local.messages import to_json
from workers.local.queue import Job, JobQueue

PING_EVERY_S = 10
# A job is missing from pings that were on their way when it was taken; three intervals later that's no excuse.
UNSEEN_IS_LOST_S = 3 * PING_EVERY_S
# The SDK looks at its queue ten times a second, and ignores a stop for a job that it has not started yet.
SETTLE_S = 0.5
STOP_GRACE_S = 15.0

Dismiss = Callable[[str, str, bool], None]


class Bell:
    """Wakes everybody who waits for it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def listen(self) -> asyncio.Event:
        """Return what is set at the next ring. Listen first, then look, and no ring is missed."""
        return self._event

    def ring(self) -> None:
        self._event.set()
        self._event = asyncio.Event()


@dataclass
class HeldJob:
    """A job a worker was given and has not let go of. Times are of the monotonic clock."""

    taken_at: float
    seen_in_ping: bool = False
    stop_wanted_at: float | None = None
    stop_sent: bool = False


@dataclass
class WorkerRecord:
    """A worker process as the gateway sees it."""

    id: str
    endpoint: str
    held: dict[str, HeldJob] = field(default_factory=dict)
    stop_bell: Bell = field(default_factory=Bell)
    has_polled: bool = False
    has_finished_a_job: bool = False
    draining: bool = False
    leaving: bool = False  # the machine has been told to end it


class Dispatch:
    """Gives jobs to workers and takes back what they let go of.

    `dismiss(worker_id, why, at_once)` is called when a worker must be replaced: after its job, or killed at once
    because it kept on at a job for `stop_grace_s` after it was told to stop.
    """

    def __init__(self, queue: JobQueue, dismiss: Dismiss, stop_grace_s: float) -> None:
        self._queue = queue
        self._dismiss = dismiss
        self._stop_grace_s = stop_grace_s
        self._workers: dict[str, WorkerRecord] = {}
        self._job_bells: dict[str, Bell] = {}
        self._broken: dict[str, str] = {}

    # -------------------------------------------------------------------------------- told by the machine

    def add_worker(self, endpoint: str, worker_id: str) -> None:
        """Expect this worker."""
        self._workers[worker_id] = WorkerRecord(worker_id, endpoint)

    def drain(self, worker_id: str) -> None:
        """Give this worker nothing more, and answer its polls so that it can leave."""
        if worker := self._workers.get(worker_id):
            worker.draining = True
            self.bell_for_jobs(worker.endpoint).ring()
            worker.stop_bell.ring()

    def remove_worker(self, worker_id: str, *, blame: bool) -> WorkerRecord:
        """Forget a worker whose process has ended, queue its jobs again, and return what is known of it.

        `blame` counts this as a failed try of its jobs.
        """
        worker = self._workers.pop(worker_id)
        self._queue.requeue(worker_id, blame=blame)
        self.bell_for_jobs(worker.endpoint).ring()
        worker.stop_bell.ring()
        return worker

    def declare_broken(self, endpoint: str, why: str) -> None:
        """Fail what waits for this endpoint, and what comes, until one of its workers asks for a job."""
        self._broken[endpoint] = why
        for job in self._queue.waiting(endpoint):
            self._queue.fail(job.id, why)

    def job_changed(self, job: Job) -> None:
        """React to a job's new state: wake a worker for it, or tell its worker to stop."""
        if job.status == "IN_QUEUE":
            if why := self._broken.get(job.endpoint):
                self._queue.fail(job.id, why)
            else:
                self.bell_for_jobs(job.endpoint).ring()
        elif job.status in ("CANCELLED", "TIMED_OUT") and job.worker in self._workers:
            self._want_stop(self._workers[job.worker], job.id)

    def sweep(self) -> None:
        """Have workers killed that keep on at a job they were told to stop."""
        now = time.monotonic()
        for worker in list(self._workers.values()):
            for job_id, held in worker.held.items():
                overdue = held.stop_wanted_at is not None and now - held.stop_wanted_at > self._stop_grace_s
                if overdue and not worker.leaving:
                    worker.leaving = True
                    self._dismiss(worker.id, f"it kept on at job {job_id} {self._stop_grace_s:g} s after its end", True)

    def count_workers(self, endpoint: str) -> dict[str, int]:
        """Return the "workers" of RunPod's /health."""
        workers = [worker for worker in self._workers.values() if worker.endpoint == endpoint]
        running = sum(bool(worker.held) for worker in workers)
        ready = sum(worker.has_polled and not worker.draining for worker in workers)
        return {
            "idle": max(ready - running, 0),
            "initializing": sum(not worker.has_polled for worker in workers),
            "ready": ready,
            "running": running,
            "throttled": 0,
            "unhealthy": int(endpoint in self._broken),
        }

    # -------------------------------------------------------------------------------- told by the workers

    def find_worker(self, worker_id: str) -> WorkerRecord | None:
        """Return what is known of a worker, or None for one that should be gone."""
        return self._workers.get(worker_id)

    def bell_for_jobs(self, endpoint: str) -> Bell:
        """Return what rings when an endpoint has a job to give."""
        return self._job_bells.setdefault(endpoint, Bell())

    def polls(self, worker: WorkerRecord, *, holds_nothing: bool) -> None:
        """Note that a worker asks for jobs."""
        if not worker.has_polled:
            worker.has_polled = True
            self._broken.pop(worker.endpoint, None)
        if holds_nothing:  # what we think it holds is lost, or was stopped and let go
            self._let_go(worker, set(worker.held))

    def give_jobs(self, worker: WorkerRecord, most: int) -> list[Job]:
        """Return jobs for a worker, which holds them from now on."""
        if worker.draining:
            return []
        jobs = self._queue.take(worker.endpoint, worker.id, most)
        worker.held.update({job.id: HeldJob(time.monotonic()) for job in jobs})
        return jobs

    def jobs_to_stop(self, worker: WorkerRecord) -> list[str]:
        """Return the jobs that a worker shall stop and was not yet told of."""
        wanted = [
            job_id for job_id, held in worker.held.items() if held.stop_wanted_at is not None and not held.stop_sent
        ]
        for job_id in wanted:
            worker.held[job_id].stop_sent = True
        return wanted

    def pinged(self, worker: WorkerRecord, listed: set[str]) -> None:
        """Note which jobs a worker says it has."""
        now = time.monotonic()
        lost = set()
        for job_id, held in worker.held.items():
            if job_id in listed:
                held.seen_in_ping = True
            elif held.seen_in_ping or now - held.taken_at > UNSEEN_IS_LOST_S:
                lost.add(job_id)
        self._let_go(worker, lost)

    def finish(self, worker: WorkerRecord, job_id: str, result: dict[str, Any]) -> None:
        """Take a job's result, or its error, from its worker."""
        worker.held.pop(job_id, None)
        worker.has_finished_a_job = True
        error = result.get("error")
        if not error:
            self._queue.complete(job_id, worker.id, result.get("output"))
        elif worker.draining:
            pass  # it was told to go: the error may be of our making, and the job is queued again when it's gone
        else:
            said = error if isinstance(error, str) else to_json(error)
            self._queue.fail(job_id, said, result.get("output"), worker.id)
        if result.get("stopPod") and not worker.leaving:
            worker.leaving = True
            self._dismiss(worker.id, "its handler asked for a fresh one", False)

    def _let_go(self, worker: WorkerRecord, job_ids: set[str]) -> None:
        """Note that a worker has these jobs no more; one it did not finish was lost, and is queued again."""
        for job_id in job_ids:
            del worker.held[job_id]
        if job_ids:
            self._queue.requeue(worker.id, job_ids)

    def _want_stop(self, worker: WorkerRecord, job_id: str) -> None:
        held = worker.held.get(job_id)
        if held is None or held.stop_wanted_at is not None:
            return
        settle_s = max(0.0, held.taken_at + SETTLE_S - time.monotonic())

        def want() -> None:
            held.stop_wanted_at = time.monotonic()
            worker.stop_bell.ring()

        asyncio.get_running_loop().call_later(settle_s, want)
