"""Starts and watches everything a studio on one computer needs: object store, gateway, and a worker an endpoint.

Run as `python -m workers.local.machine --home FOLDER`, it prints one line of JSON when it is ready: the environment
of a studio that uses it. It stops on SIGTERM, on SIGINT, and when the pipe that is its standard input closes.
"""

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from backend.errors import AtelierError, MachineError
from backend.settings import Settings
from workers.environment import child_environment
from workers.guard import GUARD_GRACE_S, Guard
from workers.local.credentials import own_credentials
from workers.local.dispatch import STOP_GRACE_S
from workers.local.gateway import Gateway
from workers.local.logs import LineLog, rotating_file
from workers.local.object_store import ObjectStore
from workers.local.worker_process import DEFAULT_WORKERS, WorkerPlan, WorkerProcess

WORKER_STOP_GRACE_S = 5.0

# What of the studio's own settings a worker reads too. The token travels because it is named here.
WORKER_SETTINGS = (
    "HF_TOKEN",
    "ATELIER_TRAINING_ENGINE",
    "AI_TOOLKIT_PYTHON",
    "ATELIER_DATASET_HOSTS",
    "ATELIER_IMAGE_ENGINE",
    "COMFYUI_PYTHON",
    "COMFYUI_ARGUMENTS",
    "MAX_DATASET_IMAGES",
    "MAX_UPLOAD_BYTES",
    "MAX_DATASET_BYTES",
    "MAX_IMAGE_PIXELS",
)

_log = logging.getLogger(__name__)


class Machine:
    """A studio's machine in a home folder, which it locks: `async with Machine(home) as machine: ...`"""

    def __init__(
        self, home: Path, workers: Sequence[WorkerPlan] = DEFAULT_WORKERS, *, stop_grace_s: float = STOP_GRACE_S
    ) -> None:
        self._home = home.absolute()
        self._plans = tuple(workers)
        self._stop_grace_s = stop_grace_s
        self._lock: _HomeLock | None = None
        self._guard: Guard | None = None
        self._store: ObjectStore | None = None
        self._gateway: Gateway | None = None
        self._workers: list[WorkerProcess] = []
        self._dismissals: set[asyncio.Task[None]] = set()
        self.environment: dict[str, str] = {}  # what a studio needs to use this machine

    async def __aenter__(self) -> "Machine":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def worker_pids(self) -> dict[str, int]:
        """The process of each endpoint's worker that is running now."""
        return {
            worker.plan.endpoint: worker.child.pid
            for worker in self._workers
            if worker.child is not None and worker.child.running
        }

    async def start(self) -> None:
        """Start everything and wait until storage and gateway answer; the workers follow when they are ready.

        Raises MachineError, and leaves nothing behind, when the home folder is in use or something can't start.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop everything, in less than ten seconds. Jobs that wait or run are kept for the next start."""
        await asyncio.gather(*(worker.stop(WORKER_STOP_GRACE_S) for worker in self._workers))
        self._workers = []
        if self._gateway is not None:
            await self._gateway.stop()
        if self._store is not None:
            await self._store.stop()
        if self._guard is not None:
            await asyncio.to_thread(self._guard.close)
        if self._lock is not None:
            self._lock.release()
            _log.info("stopped")
        self._gateway = self._store = self._guard = self._lock = None

    async def _start(self) -> None:
        for folder in (self._home, self._home / "logs", self._home / "volume"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _HomeLock(self._home)
        await self._lock.acquire()
        self._guard = Guard(keep_open=[self._lock.processes])
        shutil.rmtree(self._home / "workers", ignore_errors=True)
        credentials = own_credentials(self._home)
        self._store = ObjectStore(self._home, self._guard)
        endpoints = {plan.endpoint: plan.execution_timeout_s for plan in self._plans}
        queue_file = self._home / "queue.db"
        self._gateway = Gateway(queue_file, endpoints, credentials.api_key, self._dismiss, self._stop_grace_s)
        await asyncio.gather(self._store.start(), self._gateway.start())
        environment = worker_environment(self._home, self._store.environment)
        self._workers = [self._worker(plan, self._gateway, self._guard, environment) for plan in self._plans]
        for worker in self._workers:
            worker.start()
        self.environment = {
            **self._store.environment,
            "RUNPOD_API_KEY": credentials.api_key,
            "RUNPOD_BASE_URL": f"{self._gateway.url}/v2",
            **{f"RUNPOD_{endpoint.upper()}_ENDPOINT_ID": endpoint for endpoint in endpoints},
        }
        _log.info("ready: gateway at %s, object store at %s", self._gateway.url, self._store.endpoint_url)

    def _worker(self, plan: WorkerPlan, gateway: Gateway, guard: Guard, environment: dict[str, str]) -> WorkerProcess:
        return WorkerProcess(
            plan,
            gateway.dispatch,
            gateway.worker_calls,
            gateway_url=gateway.url,
            environment=environment,
            folder=self._home / "workers",
            log=LineLog(self._home / "logs" / f"{plan.endpoint}.log"),
            guard=guard,
        )

    def _dismiss(self, worker_id: str, why: str, at_once: bool) -> None:
        for worker in self._workers:
            if worker.worker_id == worker_id:
                _log.warning("the %s worker is replaced: %s", worker.plan.endpoint, why)
                dismissal = asyncio.create_task(worker.dismiss(at_once))
                self._dismissals.add(dismissal)
                dismissal.add_done_callback(self._dismissals.discard)


def worker_environment(home: Path, storage: dict[str, str]) -> dict[str, str]:
    """Return the environment of a machine's workers. Folders are given whole: a worker runs in one of its own."""
    settings = Settings()
    return child_environment(
        {
            **storage,
            "ATELIER_HOME": str(home),
            "ATELIER_VOLUME": str(home / "volume"),
            "ATELIER_BASE_MODELS": str(settings.atelier_base_models.absolute()),
            "AI_TOOLKIT_PATH": str(settings.ai_toolkit_path.absolute()),
            "COMFYUI_PATH": str(settings.comfyui_path.absolute()),
            "OMP_WAIT_POLICY": "PASSIVE",  # two workers share the cores: one must not spin while the other computes
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        also=WORKER_SETTINGS,
    )


class _HomeLock:
    """A home folder is one machine's. `processes` is held by its guard too, until all it started has ended."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._machine = os.open(home / "machine.lock", os.O_RDWR | os.O_CREAT, 0o600)
        self.processes = os.open(home / "processes.lock", os.O_RDWR | os.O_CREAT, 0o600)

    async def acquire(self) -> None:
        """Lock the folder. Raises MachineError when another machine lives in it."""
        if not _try_lock(self._machine):
            owner = os.pread(self._machine, 20, 0).decode()
            raise MachineError(
                f"Another studio (process {owner}) is using {self._home}.", "Stop it, or choose another home folder."
            )
        os.ftruncate(self._machine, 0)
        os.pwrite(self._machine, str(os.getpid()).encode(), 0)
        # After a kill -9 the last machine's guard still ends what was left running.
        patience_s = GUARD_GRACE_S + 5
        deadline = time.monotonic() + patience_s
        while not _try_lock(self.processes):
            if time.monotonic() > deadline:
                raise MachineError(f"Processes of an earlier studio in {self._home} did not end in {patience_s:g} s.")
            await asyncio.sleep(0.05)

    def release(self) -> None:
        os.close(self.processes)
        os.close(self._machine)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def serve(home: Path, workers: Sequence[WorkerPlan] = DEFAULT_WORKERS) -> None:
    """Run a machine until this process is told to stop, printing its environment when it is ready."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    machine = Machine(home, workers)
    starting, stopping = asyncio.create_task(machine.start()), asyncio.create_task(stop.wait())
    with await _stop_with_parent(stop):
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        try:
            await starting
            with contextlib.suppress(BrokenPipeError):  # nobody listens any more; the end of standard input follows
                print(json.dumps(machine.environment), flush=True)
            await stop.wait()
        except asyncio.CancelledError:
            _log.info("stopped before it was ready")
        finally:
            stopping.cancel()
            await machine.stop()


async def _stop_with_parent(stop: asyncio.Event) -> contextlib.AbstractContextManager[object]:
    """Set `stop` when the other end of standard input is gone. A terminal or /dev/null says nothing of a parent."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # it was started without one
        return contextlib.nullcontext()
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return contextlib.nullcontext()

    class Ended(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

    transport, _ = await asyncio.get_running_loop().connect_read_pipe(Ended, os.fdopen(0, "rb", closefd=False))
    return contextlib.closing(transport)


def main(workers: Sequence[WorkerPlan] = DEFAULT_WORKERS) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m workers.local.machine", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the folder of this machine's data")
    home = parser.parse_args().home
    (home / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, handlers=[rotating_file(home / "logs" / "machine.log")])
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of each request
    try:
        asyncio.run(serve(home, workers))
    except AtelierError as error:
        _log.exception("the machine can't run")
        sys.exit(str(error))


if __name__ == "__main__":
    main()
