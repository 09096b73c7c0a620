"""RunPod's API over httpx: run, status, cancel, health; nothing else.

The same calls reach RunPod and the local gateway. What a job means is the business of `runs`.
"""

import time
from typing import Any, Literal, NamedTuple

import httpx

from backend.contract import Request
from backend.errors import AtelierError, NotFound, RunPodError
from backend.settings import Settings

JobStatus = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]
ENDED: frozenset[JobStatus] = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})

_ATTEMPTS = 4
_WAIT_S = (0.5, 1.0, 2.0)
# A page gives up after 30 s, so what is there and says nothing is asked no more than twice.
_TIMEOUT_S, _STATUS_TIMEOUT_S = 12.0, 5.0
_SILENCES = 2
_HUSH_S = 5.0  # after which it is asked again about jobs
_RETRIED = frozenset({429, 500, 502, 503, 504})
MAX_PAYLOAD_BYTES = 10 * 2**20  # RunPod's limit for /run


class Job(NamedTuple):
    """What RunPod knows of a job."""

    id: str
    status: JobStatus
    worker_id: str
    error: str


class Health(NamedTuple):
    """How an endpoint is doing: jobs waiting, workers that can take one."""

    jobs_in_queue: int
    workers_ready: int


class Endpoint:
    """One Serverless endpoint. Raises RunPodError, in words, for everything RunPod refuses or doesn't answer."""

    def __init__(self, settings: Settings, endpoint_id: str, name: str) -> None:
        self.name = name
        self._hush_until = float("-inf")  # monotonic
        self._http = httpx.Client(
            base_url=f"{settings.runpod_base_url.rstrip('/')}/{endpoint_id}",
            headers={"Authorization": f"Bearer {settings.runpod_api_key.get_secret_value()}"},
        )

    def run(self, request: Request, *, execution_timeout_s: int, ttl_s: int) -> str:
        """Submit a job and return its id. `ttl_s` counts from now and includes the time it runs."""
        policy = {"executionTimeout": execution_timeout_s * 1000, "ttl": ttl_s * 1000}
        payload = {"input": request.model_dump(mode="json", exclude_none=True), "policy": policy}
        # A lost reply to /run may have made a job; the worker answers a run that is done with its result.
        job_id: str = self._call("POST", "/run", payload)["id"]
        return job_id

    def status(self, job_id: str) -> Job:
        """Return a job's state. Raises NotFound once RunPod has forgotten it."""
        # Screens ask again in seconds by themselves; one that is kept waiting shows nothing meanwhile, and a grid of a
        # hundred cells would be kept waiting for each of them.
        if time.monotonic() < self._hush_until:
            raise self._silence("ReadTimeout")
        reply = self._call("GET", f"/status/{job_id}", attempts=2, timeout_s=_STATUS_TIMEOUT_S)
        status: JobStatus = "IN_PROGRESS" if reply["status"] == "RUNNING" else reply["status"]
        return Job(job_id, status, reply.get("workerId") or "", str(reply.get("error") or ""))

    def cancel(self, job_id: str) -> None:
        """Ask for a job to be stopped."""
        self._call("POST", f"/cancel/{job_id}")

    def health(self) -> Health:
        """Return how the endpoint is doing."""
        reply = self._call("GET", "/health")
        jobs, workers = reply.get("jobs", {}), reply.get("workers", {})
        ready = sum(workers.get(state, 0) for state in ("idle", "ready", "running"))
        return Health(jobs.get("inQueue", 0), ready)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(
        self,
        method: str,
        path: str,
        payload: dict[str, Any] | None = None,
        *,
        attempts: int = _ATTEMPTS,
        timeout_s: float = _TIMEOUT_S,
    ) -> dict[str, Any]:
        silences = 0
        for attempt in range(attempts):
            try:
                reply = self._http.request(method, path, json=payload, timeout=httpx.Timeout(timeout_s, connect=5))
            except httpx.TransportError as error:
                silences += isinstance(error, httpx.TimeoutException)
                failure: AtelierError = self._silence(type(error).__name__)
            else:
                if reply.is_success:
                    body: dict[str, Any] = reply.json()
                    return body
                failure = self._refusal(reply, path)
                if reply.status_code not in _RETRIED:
                    raise failure
            if silences == _SILENCES:
                self._hush_until = time.monotonic() + _HUSH_S
                break
            if attempt < attempts - 1:
                time.sleep(_WAIT_S[attempt])
        raise failure

    def _silence(self, why: str) -> RunPodError:
        return RunPodError(
            f"The {self.name} endpoint is not responding ({why}).",
            "Try again in a minute; if it stays so, see whether RunPod is up and RUNPOD_BASE_URL is right.",
        )

    def _refusal(self, reply: httpx.Response, path: str) -> AtelierError:
        said = reply.text.strip()[:200]
        match reply.status_code:
            case 401 | 403:
                return RunPodError(f"The {self.name} endpoint refused the key.", "Check RUNPOD_API_KEY.")
            case 404 if path in ("/run", "/health"):
                variable = f"RUNPOD_{self.name.replace(' ', '_').upper()}_ENDPOINT_ID"
                return RunPodError(f"RunPod knows no such {self.name} endpoint.", f"Check {variable}.")
            case 404:
                return NotFound(f"The {self.name} endpoint knows no such job.")
            case 413:
                return RunPodError(f"The request to the {self.name} endpoint is over {MAX_PAYLOAD_BYTES // 2**20} MB.")
            case 429:
                return RunPodError(f"The {self.name} endpoint is busy.", "Try again in a minute.")
            case code:
                return RunPodError(f"The {self.name} endpoint answered {code}: {said}")
