"""Speaks RunPod's API on loopback: what a client of an endpoint may ask, and the server that answers.

The jobs are JobQueue's and the workers are Dispatch's, who are asked over `worker_calls`.
"""

import asyncio
import contextlib
import hmac
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.errors import MachineError
from workers.local.dispatch import STOP_GRACE_S, Bell, Dismiss, Dispatch
from workers.local.messages import BadBody, read_json, refuse, reply
from workers.local.queue import Job, JobQueue
from workers.local.worker_calls import WorkerCalls

RUN_LIMIT_BYTES = 10 * 2**20
RUNSYNC_LIMIT_BYTES = 20 * 2**20
DEFAULT_TTL_S = 24 * 3600.0
WEEK_MS = 7 * 24 * 3600 * 1000
SWEEP_EVERY_S = 0.5
PRUNE_EVERY_S = 60.0

_log = logging.getLogger(__name__)
Handler = Callable[[Request], Awaitable[Response]]


class Policy(BaseModel):
    """RunPod's `policy`, in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    execution_timeout_ms: int | None = Field(None, alias="executionTimeout", ge=5_000, le=WEEK_MS)
    ttl_ms: int | None = Field(None, alias="ttl", ge=5_000, le=WEEK_MS)


class JobRequest(BaseModel):
    """The body of /run and /runsync. RunPod ignores what it does not know, and so do we."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    input: Any
    policy: Policy = Policy()
    webhook: str | None = None


class Gateway:
    """RunPod's API for some endpoints of this computer.

    `endpoints` maps an endpoint's id to the seconds a job of it may run unless its policy says otherwise.
    """

    def __init__(
        self,
        queue_file: Path,
        endpoints: Mapping[str, float],
        api_key: str,
        dismiss: Dismiss,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        self._endpoints = dict(endpoints)
        self._api_key = api_key.encode()
        self._end_bells: dict[str, Bell] = {}
        self._queue = JobQueue(queue_file, self._job_changed)
        self.dispatch = Dispatch(self._queue, dismiss, stop_grace_s)
        self.worker_calls = WorkerCalls(self.dispatch, self._queue)
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.url = ""  # http://127.0.0.1:port, once started

    def app(self) -> Starlette:
        base = "/v2/{endpoint}"
        return Starlette(
            routes=[
                *self.worker_calls.routes(),
                Route(f"{base}/run", self._guarded(self._run), methods=["POST"]),
                Route(f"{base}/runsync", self._guarded(self._run_and_wait), methods=["POST"]),
                Route(f"{base}/status/{{job}}", self._guarded(self._status), methods=["GET", "POST"]),
                Route(f"{base}/stream/{{job}}", self._guarded(self._stream), methods=["GET", "POST"]),
                Route(f"{base}/cancel/{{job}}", self._guarded(self._cancel), methods=["POST"]),
                Route(f"{base}/retry/{{job}}", self._guarded(self._retry), methods=["POST"]),
                Route(f"{base}/purge-queue", self._guarded(self._purge), methods=["POST"]),
                Route(f"{base}/health", self._guarded(self._health)),
            ]
        )

    async def start(self) -> None:
        """Serve on a free port of the loopback address. Jobs that were running when the last one died wait again."""
        self._queue.recover()
        listener = _listen_on_loopback()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        # The log of requests would hold the workers' token.
        config = uvicorn.Config(
            self.app(),
            access_log=False,
            log_config=None,
            log_level="warning",
            lifespan="off",
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._tasks = [
            asyncio.create_task(self._server.serve(sockets=[listener])),
            asyncio.create_task(self._sweep_forever()),
        ]
        deadline_s = 10.0
        while not self._server.started:
            if self._tasks[0].done() or deadline_s <= 0:
                raise MachineError("The local gateway did not start.", "Its log says why.")
            await asyncio.sleep(0.01)
            deadline_s -= 0.01

    async def stop(self) -> None:
        """Answer who still waits, stop serving and close the queue."""
        if self._server is not None:
            self._server.should_exit = True
            for bell in list(self._end_bells.values()):
                bell.ring()
            serving, sweeping = self._tasks
            sweeping.cancel()
            await asyncio.wait([serving, sweeping], timeout=5)
        self._queue.close()

    def _job_changed(self, job: Job) -> None:
        self.dispatch.job_changed(job)
        if job.ended and job.id in self._end_bells:
            self._end_bells[job.id].ring()

    async def _sweep_forever(self) -> None:
        sweeps = 0
        while True:
            try:
                self._queue.end_overdue()
                self.dispatch.sweep()
                if sweeps % round(PRUNE_EVERY_S / SWEEP_EVERY_S) == 0:
                    self._queue.prune()
            except Exception:
                # Without its sweeps the gateway would serve on and never end an overdue job.
                _log.exception("a sweep of the queue failed")
            sweeps += 1
            await asyncio.sleep(SWEEP_EVERY_S)

    def _guarded(self, handle: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            said = request.headers.get("authorization", "")
            key = said.removeprefix("Bearer ").encode()  # RunPod takes the bare key too
            if not hmac.compare_digest(key, self._api_key):
                return refuse(401, "The API key is missing or wrong. Send it as: Authorization: Bearer <key>.")
            if request.path_params["endpoint"] not in self._endpoints:
                return refuse(404, f"There is no endpoint {request.path_params['endpoint']} here.")
            try:
                return await handle(request)
            except BadBody as error:
                return refuse(error.status, error.message)

        return guarded

    async def _run(self, request: Request) -> Response:
        job = self._submit(request, await read_json(request, RUN_LIMIT_BYTES))
        return reply({"id": job.id, "status": job.status})

    async def _run_and_wait(self, request: Request) -> Response:
        wait_ms = request.query_params.get("wait", "90000")
        if not wait_ms.isdecimal() or not 1_000 <= int(wait_ms) <= 300_000:
            return refuse(400, f"wait is {wait_ms}; it must be 1000 to 300000 milliseconds.")
        body = await read_json(request, RUNSYNC_LIMIT_BYTES)
        job = self._submit(request, body, synchronous=True)
        ended = self._end_bells.setdefault(job.id, Bell()).listen()
        try:
            # A job of a broken endpoint has failed before anybody listened.
            if not self._find(job.endpoint, job.id).ended:
                async with asyncio.timeout(int(wait_ms) / 1000):
                    await ended.wait()
        except TimeoutError:
            pass
        finally:
            self._end_bells.pop(job.id, None)
        return reply(self._find(job.endpoint, job.id).describe())

    async def _status(self, request: Request) -> Response:
        return reply(self._named(request).describe())

    async def _stream(self, request: Request) -> Response:
        job = self._named(request)
        return reply({**job.describe(), "stream": [{"output": chunk} for chunk in self._queue.take_chunks(job.id)]})

    async def _cancel(self, request: Request) -> Response:
        job = self._named(request)
        self._queue.cancel(job.endpoint, job.id)
        return reply({"id": job.id, "status": self._find(job.endpoint, job.id).status})

    async def _retry(self, request: Request) -> Response:
        job = self._named(request)
        queued = self._queue.retry(job.endpoint, job.id)
        if queued is None:
            return refuse(400, f"Job {job.id} is {job.status}; only FAILED and TIMED_OUT jobs can be retried.")
        return reply({"id": queued.id, "status": queued.status})

    async def _purge(self, request: Request) -> Response:
        return reply({"removed": self._queue.purge(request.path_params["endpoint"]), "status": "completed"})

    async def _health(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        count = self._queue.count(endpoint)
        jobs = {
            "completed": count.get("COMPLETED", 0),
            "failed": count.get("FAILED", 0) + count.get("TIMED_OUT", 0),
            "inProgress": count.get("IN_PROGRESS", 0),
            "inQueue": count.get("IN_QUEUE", 0),
            "retried": count["RETRIED"],
        }
        return reply({"jobs": jobs, "workers": self.dispatch.count_workers(endpoint)})

    def _submit(self, request: Request, body: Any, *, synchronous: bool = False) -> Job:
        asked = _parse(body)
        endpoint = request.path_params["endpoint"]
        timeout_ms, ttl_ms = asked.policy.execution_timeout_ms, asked.policy.ttl_ms
        return self._queue.submit(
            endpoint,
            asked.input,
            execution_timeout_s=self._endpoints[endpoint] if timeout_ms is None else timeout_ms / 1000,
            ttl_s=DEFAULT_TTL_S if ttl_ms is None else ttl_ms / 1000,
            synchronous=synchronous,
        )

    def _named(self, request: Request) -> Job:
        return self._find(request.path_params["endpoint"], request.path_params["job"])

    def _find(self, endpoint: str, job_id: str) -> Job:
        job = self._queue.find(endpoint, job_id)
        if job is None:
            raise BadBody(404, f"There is no job {job_id} on {endpoint}, or its result is older than 30 minutes.")
        return job


def _listen_on_loopback() -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, each answer took 40 ms more.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    return listener


class _Server(uvicorn.Server):
    """A server that leaves the process's signals to the machine, which has to stop more than this."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _parse(body: Any) -> JobRequest:
    try:
        asked = JobRequest.model_validate(body)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise BadBody(400, f"The request can't be run: {faults}") from error
    if asked.webhook:
        raise BadBody(400, "This machine calls no webhooks. Ask /status instead.")
    return asked
