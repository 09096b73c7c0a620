"""Keeps a worker process of an endpoint alive: a fresh folder for each, a restart when one ends, a limit to trying."""

import asyncio
import contextlib
import logging
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.errors import MachineError
from workers.guard import Guard
from workers.local.dispatch import Dispatch, WorkerRecord
from workers.local.logs import LineLog
from workers.local.worker_calls import WorkerCalls
from workers.processes import Child, describe_exit, start_child

FAILED_STARTS_ALLOWED = 3
QUICK_DEATH_S = 30.0
LONGEST_PAUSE_S = 30.0
DISMISS_GRACE_S = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerPlan:
    """An endpoint and the command that serves it."""

    endpoint: str
    command: tuple[str, ...]
    execution_timeout_s: float = 600.0  # for jobs whose policy names none; RunPod's own default


DEFAULT_WORKERS = (
    # A training without a policy may take its day: ten minutes, RunPod's default, would end every one.
    WorkerPlan("training", (sys.executable, "-m", "workers.training"), 24 * 3600.0),
    WorkerPlan("image_generation", (sys.executable, "-m", "workers.image_generation")),
)


class WorkerProcess:
    """The worker of one endpoint. `folder` is for its working folders, each removed when its process has ended."""

    def __init__(
        self,
        plan: WorkerPlan,
        dispatch: Dispatch,
        calls: WorkerCalls,
        *,
        gateway_url: str,
        environment: Mapping[str, str],
        folder: Path,
        log: LineLog,
        guard: Guard,
    ) -> None:
        self.plan = plan
        self.worker_id = ""
        self.child: Child | None = None
        self._dispatch = dispatch
        self._calls = calls
        self._gateway_url = gateway_url
        self._environment = environment
        self._folder = folder
        self._log = log
        self._guard = guard
        self._dismissed = False
        self._stopping = False
        self._failed_starts = 0
        self._quick_deaths = 0
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self, grace_s: float) -> None:
        """End it for good, killing it if it hasn't left after `grace_s`. Its job waits for the next start."""
        self._stopping = True
        if self._keeper is None:
            return
        if self.child is not None and self.child.running:
            self._dispatch.drain(self.worker_id)
            await self.child.stop(grace_s)
        else:
            self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper
        self._log.close()

    async def dismiss(self, at_once: bool) -> None:
        """End this process, so that a fresh one takes its place."""
        self._dismissed = True
        if self.child is not None:
            self._dispatch.drain(self.worker_id)
            await self.child.stop(0 if at_once else DISMISS_GRACE_S)

    async def _keep(self) -> None:
        while not self._stopping:
            started_at = time.monotonic()
            self._dismissed = False
            self.worker_id = secrets.token_hex(6)
            folder = self._folder / self.worker_id
            ending = await self._run_once(folder)
            record = self._dispatch.remove_worker(self.worker_id, blame=not self._stopping)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if not self._stopping:
                await asyncio.sleep(self._judge(ending, record, time.monotonic() - started_at))

    async def _run_once(self, folder: Path) -> str:
        """Run a worker to its end and say how it ended."""
        self._dispatch.add_worker(self.plan.endpoint, self.worker_id)
        working, home, scratch = folder / "work", folder / "home", folder / "tmp"
        protocol = self._calls.worker_environment(self._gateway_url, self.plan.endpoint, self.worker_id)
        try:
            for path in (working, home, scratch):
                path.mkdir(mode=0o700, parents=True)
            self.child = await start_child(
                self.plan.command,
                # An empty home: the SDK would send a key found in ~/.runpod instead of ours.
                # Its temporary files lie where they are removed even when it is killed.
                environment={**self._environment, **protocol, "HOME": str(home), "TMPDIR": str(scratch)},
                name=f"The {self.plan.endpoint} worker",
                # Its own: SDK 1.10 believes in a list of running jobs that it finds in its working folder.
                folder=working,
                guard=self._guard,
                on_line=self._write_log,
            )
        except (MachineError, OSError) as error:  # such as a disk that is full
            self._write_log(str(error))
            return str(error)
        code = await self.child.wait()
        last_line = self._without_token(next(iter(self.child.last_lines(1)), "(nothing)"))
        return f"{self.child.name} {describe_exit(code)}. Its last line: {last_line[:300]}"

    def _write_log(self, line: str) -> None:
        self._log.write(self._without_token(line))

    def _without_token(self, line: str) -> str:
        # The SDK writes the whole address of a call that failed.
        return line.replace(self._calls.token, "***")

    def _judge(self, ending: str, record: WorkerRecord, lived_s: float) -> float:
        """Count what this death says of the next start, and return the seconds to wait before it."""
        useful = record.has_finished_a_job or lived_s > QUICK_DEATH_S
        self._failed_starts = 0 if record.has_polled or self._dismissed else self._failed_starts + 1
        self._quick_deaths = 0 if useful or self._dismissed else self._quick_deaths + 1
        pause_s = 0.0 if self._quick_deaths < 2 else min(0.25 * 2 ** (self._quick_deaths - 2), LONGEST_PAUSE_S)
        _log.warning("%s. A new one starts in %g s", ending, pause_s)
        if self._failed_starts >= FAILED_STARTS_ALLOWED:
            self._dispatch.declare_broken(
                self.plan.endpoint,
                f"The {self.plan.endpoint} worker can't start; it was tried {self._failed_starts} times. {ending}",
            )
        return pause_s
