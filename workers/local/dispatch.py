"""Owns the worker side of the gateway: the calls of RunPod's SDK loop, and which worker holds which job.

The protocol is that of the unmodified SDK (1.10 to 1.12). Starting and ending worker processes is the machine's part;
`Dispatch` only says when one should go.
"""

import asyncio
import contextlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from workers.local.messages import BadBody, read_json, refuse, reply, to_json
from workers.local.queue import Job, JobQueue

HOLD_POLL_S = 75.0  # the SDK gives up at 90 s; an answer of "nothing" at once would cost it 0.17 of a core
HOLD_DRAINING_POLL_S = 0.2
RESULT_LIMIT_BYTES = 20 * 2**20
PING_EVERY_S = 10
# A job is missing from pings that were on their way when it was taken; three intervals later that's no excuse.
UNSEEN_IS_LOST_S = 3 * PING_EVERY_S
# The SDK looks at its queue ten times a second, and ignores a stop for a job that it has not started yet.
SETTLE_S = 0.5
STOP_GRACE_S = 15.0

# A pooled connection dies while a synchronous handler blocks the SDK's loop, and the result sent over it is never
# sent again: so every answer ends its connection.
CLOSE = {"Connection": "close"}

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
    """Hands jobs to workers and takes their results.

    `dismiss(worker_id, why, at_once)` is called when a worker must be replaced: after its job, or killed at once
    because it kept on at a job for `stop_grace_s` after it was told to stop.
    """

    def __init__(self, queue: JobQueue, dismiss: Dismiss, stop_grace_s: float) -> None:
        self.token = secrets.token_urlsafe(24)
        self._queue = queue
        self._dismiss = dismiss
        self._stop_grace_s = stop_grace_s
        self._workers: dict[str, WorkerRecord] = {}
        self._job_bells: dict[str, Bell] = {}
        self._broken: dict[str, str] = {}

    def routes(self) -> list[Route]:
        base = "/v2/{endpoint}"
        return [
            Route(f"{base}/job-take/{{worker}}", self._guarded(self._take)),
            Route(f"{base}/job-take-batch/{{worker}}", self._guarded(self._take)),
            Route(f"{base}/job-stop/{{worker}}", self._guarded(self._stop)),
            Route(f"{base}/job-done/{{worker}}/{{job}}", self._guarded(self._done), methods=["POST"]),
            Route(f"{base}/job-stream/{{worker}}/{{job}}", self._guarded(self._stream), methods=["POST"]),
            Route(f"{base}/ping/{{worker}}", self._guarded(self._ping)),
        ]

    def worker_environment(self, gateway_url: str, endpoint: str, worker_id: str) -> dict[str, str]:
        """Return the variables that lead an SDK worker here.

        It authenticates with our token in the URL: a key in its header could be the user's own, from ~/.runpod.
        """
        base = f"{gateway_url}/v2/{endpoint}"
        query = f"gpu=local&token={self.token}"  # the SDK appends "&...", so there must be a "?"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?{query}",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?{query}",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?{query}",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?{query}",
            "RUNPOD_POD_ID": worker_id,
            "RUNPOD_ENDPOINT_ID": endpoint,
            "RUNPOD_AI_API_KEY": "local",  # without one the SDK sends no pings
            "RUNPOD_PING_INTERVAL": str(PING_EVERY_S * 1000),
            "RUNPOD_LOG_LEVEL": "INFO",
            # Its checks of memory and GPU end a worker on a small computer.
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    def add_worker(self, endpoint: str, worker_id: str) -> None:
        """Expect this worker."""
        self._workers[worker_id] = WorkerRecord(worker_id, endpoint)

    def drain(self, worker_id: str) -> None:
        """Give this worker nothing more, and answer its polls so that it can leave."""
        if worker := self._workers.get(worker_id):
            worker.draining = True
            self._ring_for_jobs(worker.endpoint)
            worker.stop_bell.ring()

    def remove_worker(self, worker_id: str, *, blame: bool) -> WorkerRecord:
        """Forget a worker whose process has ended, queue its jobs again, and return what is known of it.

        `blame` counts this as a failed try of its jobs.
        """
        worker = self._workers.pop(worker_id)
        self._queue.requeue(worker_id, blame=blame)
        self._ring_for_jobs(worker.endpoint)
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
                self._ring_for_jobs(job.endpoint)
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

    def _guarded(self, handle: Callable[[Request, WorkerRecord], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            token = request.query_params.get("token", "")
            if not hmac.compare_digest(token.encode(), self.token.encode()):
                return refuse(401, "This is not one of our workers.")
            worker = self._workers.get(request.path_params["worker"])
            if worker is None or worker.endpoint != request.path_params["endpoint"]:
                # A worker that should be gone. The pause keeps it from asking in a tight loop.
                await asyncio.sleep(1)
                return Response(status_code=204, headers=CLOSE)
            try:
                response: Response = await handle(request, worker)
            except BadBody as error:
                response = refuse(400, error.message)
            response.headers.update(CLOSE)
            return response

        return guarded

    async def _take(self, request: Request, worker: WorkerRecord) -> Response:
        if not worker.has_polled:
            worker.has_polled = True
            self._broken.pop(worker.endpoint, None)
        if request.query_params.get("job_in_progress") == "0":
            # It holds nothing, so what we think it holds is lost, or was stopped and let go.
            self._let_go(worker, set(worker.held))
        batch = int(request.query_params.get("batch_size", "1"))
        jobs: list[Job] = []

        def look() -> bool:
            if not worker.draining:
                jobs.extend(self._queue.take(worker.endpoint, worker.id, batch))
            worker.held.update({job.id: HeldJob(time.monotonic()) for job in jobs})
            return bool(jobs)

        await self._hold(request, worker, self._bell_for_jobs(worker.endpoint), look)
        if not jobs:
            return Response(status_code=204)
        bodies = [f'{{"id":{to_json(job.id)},"input":{job.input}}}' for job in jobs]
        body = f"[{','.join(bodies)}]" if "job-take-batch" in request.url.path else bodies[0]
        return Response(body, media_type="application/json")

    async def _stop(self, request: Request, worker: WorkerRecord) -> Response:
        stopped: list[str] = []

        def look() -> bool:
            for job_id, held in worker.held.items():
                if held.stop_wanted_at is not None and not held.stop_sent:
                    held.stop_sent = True
                    stopped.append(job_id)
            return bool(stopped)

        await self._hold(request, worker, worker.stop_bell, look)
        return reply({"jobsToStop": stopped}) if stopped else Response(status_code=204)

    async def _done(self, request: Request, worker: WorkerRecord) -> Response:
        job_id = request.path_params["job"]
        try:
            result = await read_json(request, RESULT_LIMIT_BYTES)
        except BadBody as error:
            self._finish(worker, job_id, {"error": f"The worker's result was refused. {error.message}"})
            raise
        if not isinstance(result, dict):
            self._finish(worker, job_id, {"error": "The worker's result was not a JSON object."})
        elif result.get("status") == "IN_PROGRESS":
            self._queue.record_progress(job_id, worker.id, result.get("output"))
        else:
            self._finish(worker, job_id, result)
        return Response(status_code=200)

    async def _stream(self, request: Request, worker: WorkerRecord) -> Response:
        chunk = await read_json(request, RESULT_LIMIT_BYTES)
        if isinstance(chunk, dict):
            self._queue.add_chunk(request.path_params["job"], worker.id, chunk.get("output"))
        return Response(status_code=200)

    async def _ping(self, request: Request, worker: WorkerRecord) -> Response:
        listed = {job_id for job_id in request.query_params.get("job_id", "").split(",") if job_id}
        now = time.monotonic()
        lost = set()
        for job_id, held in worker.held.items():
            if job_id in listed:
                held.seen_in_ping = True
            elif held.seen_in_ping or now - held.taken_at > UNSEEN_IS_LOST_S:
                lost.add(job_id)
        self._let_go(worker, lost)
        return Response(status_code=200)

    def _finish(self, worker: WorkerRecord, job_id: str, result: dict[str, Any]) -> None:
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

    async def _hold(self, request: Request, worker: WorkerRecord, bell: Bell, look: Callable[[], bool]) -> None:
        """Hold a poll open until `look()` finds something, the worker hangs up or shall leave, or time is up."""
        deadline = time.monotonic() + HOLD_POLL_S
        await request.body()
        gone = asyncio.ensure_future(_hung_up(request))
        try:
            while True:
                rung = bell.listen()
                if gone.done() or worker.id not in self._workers:
                    return
                if look():
                    return
                if worker.draining:
                    await asyncio.wait([gone], timeout=HOLD_DRAINING_POLL_S)
                    return
                ring = asyncio.ensure_future(rung.wait())
                await asyncio.wait(
                    [ring, gone], timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
                )
                ring.cancel()
                if time.monotonic() >= deadline:
                    return
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone

    def _bell_for_jobs(self, endpoint: str) -> Bell:
        return self._job_bells.setdefault(endpoint, Bell())

    def _ring_for_jobs(self, endpoint: str) -> None:
        self._bell_for_jobs(endpoint).ring()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
