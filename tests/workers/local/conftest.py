"""A real machine whose workers are RunPod's unmodified SDK around a small handler."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from backend.runs.runpod_client import ENDED
from workers.local.machine import Machine
from workers.local.worker_process import WorkerPlan

HANDLER = str(Path(__file__).with_name("handler.py"))
# The same tests run with another version of the SDK: the interpreter of an environment that has it.
WORKER_PYTHON = os.environ.get("ATELIER_TEST_WORKER_PYTHON", sys.executable)
TEST_WORKERS = (
    WorkerPlan("training", (WORKER_PYTHON, HANDLER)),
    WorkerPlan("image_generation", (WORKER_PYTHON, HANDLER, "stream")),
)
STOP_GRACE_S = 2.0


def eventually(look: Callable[[], Any], timeout_s: float = 15.0, every_s: float = 0.02) -> Any:
    """Return the first true value of `look()`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(every_s)
    raise AssertionError(f"nothing came of {look} within {timeout_s} s")


def client_for(environment: dict[str, str]) -> httpx.Client:
    headers = {"Authorization": f"Bearer {environment['RUNPOD_API_KEY']}"}
    return httpx.Client(base_url=environment["RUNPOD_BASE_URL"], headers=headers, timeout=60, trust_env=False)


class Endpoint:
    """A client of one endpoint."""

    def __init__(self, http: httpx.Client, name: str) -> None:
        self.http = http
        self.name = name

    def run(self, policy: dict[str, int] | None = None, **job_input: Any) -> str:
        body = {"input": job_input} | ({"policy": policy} if policy else {})
        reply = self.http.post(f"/{self.name}/run", json=body)
        assert reply.status_code == 200, reply.text
        assert reply.json()["status"] == "IN_QUEUE"
        return str(reply.json()["id"])

    def status(self, job_id: str) -> dict[str, Any]:
        reply = self.http.get(f"/{self.name}/status/{job_id}")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.http.post(f"/{self.name}/{path}", **options)

    def wait(self, job_id: str, *states: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait for one of these states, by default any end."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update(self.status(job_id))
            return found["status"] in (states or ENDED)

        eventually(reached, timeout_s)
        return self.status(job_id)


def processes_of(home: Path, machine_pid: int) -> list[str]:
    """Return the processes that belong to a home folder, the guard of its machine among them."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd", "environ", "status"]):
        about = process.info
        words = " ".join(about["cmdline"] or [])
        ours = [words, about["cwd"] or "", (about["environ"] or {}).get("ATELIER_HOME", "")]
        belongs = any(str(home) in text for text in ours) or guards(words, machine_pid)
        if belongs and about["status"] != psutil.STATUS_ZOMBIE:
            found.append(f"{about['pid']} {words[:200]}")
    return found


def guards(words: str, machine_pid: int) -> bool:
    """Say whether a command line is that of the machine's guard."""
    return f"_guard_groups({machine_pid}," in words


class RunningMachine:
    """A machine in an event loop of its own, so that tests can be plain clients."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(machine.start())

    def stop(self) -> None:
        self._call(self.machine.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMachine]:
    running = RunningMachine(Machine(tmp_path_factory.mktemp("machine"), TEST_WORKERS, stop_grace_s=STOP_GRACE_S))
    yield running
    running.stop()


@pytest.fixture
def http(running: RunningMachine) -> Iterator[httpx.Client]:
    with client_for(running.machine.environment) as client:
        yield client


@pytest.fixture
def training(http: httpx.Client) -> Endpoint:
    return Endpoint(http, "training")


@pytest.fixture
def streaming(http: httpx.Client) -> Endpoint:
    return Endpoint(http, "image_generation")
