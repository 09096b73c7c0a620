"""Answers the calls of RunPod's SDK loop: jobs taken, stopped and done, streams and pings.

The protocol is that of the unmodified SDK (1.10 to 1.12); what the calls mean is `Dispatch`'s.
"""

import asyncio
import contextlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from workers.local.dispatch import PING_EVERY_S, Bell, Dispatch, WorkerRecord
from workers.local.messages import BadBody, read_json, refuse, reply, to_json
from workers.local.queue import Job, JobQueue

HOLD_POLL_S = 75.0  # the SDK gives up at 90 s; an answer of "nothing" at once would cost it 0.17 of a core
HOLD_DRAINING_POLL_S = 0.2
RESULT_LIMIT_BYTES = 20 * 2**20

# A pooled connection dies while a synchronous handler blocks the SDK's loop, and the result sent over it is never
# sent again: so every answer ends its connection.
CLOSE = {"Connection": "close"}


class WorkerCalls:
    """The worker side of the gateway, as HTTP. `token` is what a worker has to show."""

    def __init__(self, dispatch: Dispatch, queue: JobQueue) -> None:
        self.token = secrets.token_urlsafe(24)
        self._dispatch = dispatch
        self._queue = queue

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

    def _guarded(self, handle: Callable[[Request, WorkerRecord], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            token = request.query_params.get("token", "")
            if not hmac.compare_digest(token.encode(), self.token.encode()):
                return refuse(401, "This is not one of our workers.")
            worker = self._dispatch.find_worker(request.path_params["worker"])
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
        self._dispatch.polls(worker, holds_nothing=request.query_params.get("job_in_progress") == "0")
        batch = int(request.query_params.get("batch_size", "1"))
        jobs: list[Job] = []

        def look() -> bool:
            jobs.extend(self._dispatch.give_jobs(worker, batch))
            return bool(jobs)

        await self._hold(request, worker, self._dispatch.bell_for_jobs(worker.endpoint), look)
        if not jobs:
            return Response(status_code=204)
        bodies = [f'{{"id":{to_json(job.id)},"input":{job.input}}}' for job in jobs]
        body = f"[{','.join(bodies)}]" if "job-take-batch" in request.url.path else bodies[0]
        return Response(body, media_type="application/json")

    async def _stop(self, request: Request, worker: WorkerRecord) -> Response:
        stopped: list[str] = []

        def look() -> bool:
            stopped.extend(self._dispatch.jobs_to_stop(worker))
            return bool(stopped)

        await self._hold(request, worker, worker.stop_bell, look)
        return reply({"jobsToStop": stopped}) if stopped else Response(status_code=204)

    async def _done(self, request: Request, worker: WorkerRecord) -> Response:
        job_id = request.path_params["job"]
        try:
            result = await read_json(request, RESULT_LIMIT_BYTES)
        except BadBody as error:
            self._dispatch.finish(worker, job_id, {"error": f"The worker's result was refused. {error.message}"})
            raise
        if not isinstance(result, dict):
            self._dispatch.finish(worker, job_id, {"error": "The worker's result was not a JSON object."})
        elif result.get("status") == "IN_PROGRESS":
            self._queue.record_progress(job_id, worker.id, result.get("output"))
        else:
            self._dispatch.finish(worker, job_id, result)
        return Response(status_code=200)

    async def _stream(self, request: Request, worker: WorkerRecord) -> Response:
        chunk = await read_json(request, RESULT_LIMIT_BYTES)
        if isinstance(chunk, dict):
            self._queue.add_chunk(request.path_params["job"], worker.id, chunk.get("output"))
        return Response(status_code=200)

    async def _ping(self, request: Request, worker: WorkerRecord) -> Response:
        listed = request.query_params.get("job_id", "").split(",")
        self._dispatch.pinged(worker, {job_id for job_id in listed if job_id})
        return Response(status_code=200)

    async def _hold(self, request: Request, worker: WorkerRecord, bell: Bell, look: Callable[[], bool]) -> None:
        """Hold a poll open until `look()` finds something, the worker hangs up or shall leave, or time is up."""
        deadline = time.monotonic() + HOLD_POLL_S
        await request.body()
        gone = asyncio.ensure_future(_hung_up(request))
        try:
            while True:
                rung = bell.listen()
                if gone.done() or self._dispatch.find_worker(worker.id) is None:
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


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
