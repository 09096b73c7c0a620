"""The machine as a process: how it starts, ends, and comes back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.workers.local.conftest import (
    TEST_WORKERS,
    Endpoint,
    RunningMachine,
    client_for,
    eventually,
    processes_of,
)
from workers.local.machine import Machine
from workers.local.worker_process import WorkerPlan

ROOT = Path(__file__).parents[3]


class MachineProcess:
    """`python -m workers.local.machine` with test workers, as the app starts it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.local.machine_with_test_workers", "--home", str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def environment(self) -> dict[str, str]:
        assert self.process.stdout
        return dict(json.loads(self.process.stdout.readline()))

    def end(self, number: signal.Signals | None) -> float:
        """Send a signal, or close its standard input, and return the seconds until nothing of it is left."""
        began = time.monotonic()
        if number is not None:
            self.process.send_signal(number)
        elif self.process.stdin:
            self.process.stdin.close()
        self.process.wait(timeout=15)
        eventually(lambda: not processes_of(self.home, self.process.pid), every_s=0.2)
        return time.monotonic() - began

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path: it is kept, with its hundred megabytes of storage, for three sessions.
    home = Path(os.environ.get("TMPDIR", "/tmp"), f"atelier-{os.getpid()}-{time.monotonic_ns()}")  # noqa: S108
    yield home
    shutil.rmtree(home, ignore_errors=True)


def has_two_workers(machine: MachineProcess) -> bool:
    """Whether both SDK workers and their pings run."""
    return sum("handler.py" in line for line in processes_of(machine.home, machine.process.pid)) == 4


def test_machines_live_side_by_side_and_a_kill_of_one_loses_no_job(home: Path) -> None:
    first, neighbour = MachineProcess(home / "one"), MachineProcess(home / "two")
    environment, others = first.environment(), neighbour.environment()
    assert environment["R2_ENDPOINT_URL"] != others["R2_ENDPOINT_URL"]
    assert environment["RUNPOD_API_KEY"] != others["RUNPOD_API_KEY"]
    started = home / "started"
    with client_for(environment) as http:
        training = Endpoint(http, "training")
        running = training.run(do="sleep", seconds=0.5, mark=str(started))
        waiting = training.run(say="still here")
        eventually(started.exists)
        eventually(lambda: has_two_workers(first), every_s=0.2)
    first.process.send_signal(signal.SIGKILL)

    # Started again at once, it waits until the guard of the first has done its work.
    second = MachineProcess(home / "one")
    with client_for(second.environment()) as http:
        assert not processes_of(Path("/nowhere"), first.process.pid)
        assert sum("weed" in line for line in processes_of(second.home, second.process.pid)) == 1
        training = Endpoint(http, "training")
        assert training.wait(running)["output"] == "slept"
        assert training.wait(waiting)["output"]["echo"] == "still here"

    refused = MachineProcess(home / "one")
    said = refused.process.communicate(timeout=10)[1]
    assert refused.process.returncode == 1
    assert f"Another studio (process {second.process.pid}) is using {home / 'one'}." in said

    # machine, guard, weed, two workers with their pings
    eventually(lambda: len(processes_of(neighbour.home, neighbour.process.pid)) == 7, every_s=0.2)
    with ThreadPoolExecutor() as at_once:
        ends = [at_once.submit(neighbour.end, None), at_once.submit(second.end, signal.SIGTERM)]
    assert all(end.result() < 10 for end in ends)
    for machine in (second, neighbour):
        assert machine.process.returncode == 0
    for machine in (first, second, neighbour, refused):
        machine.close()


def test_a_signal_during_the_start_ends_it(home: Path) -> None:
    machine = MachineProcess(home)
    eventually(lambda: (home / "machine.lock").exists())
    assert machine.end(signal.SIGINT) < 10
    assert machine.process.stdout
    assert machine.process.stdout.read() == ""
    machine.close()


def test_a_worker_that_cannot_start_fails_its_jobs_in_words(home: Path) -> None:
    plans = (WorkerPlan("training", (sys.executable, "-c", "raise SystemExit('no engine is installed')")),)
    running = RunningMachine(Machine(home, plans))
    with client_for(running.machine.environment) as http:
        training = Endpoint(http, "training")
        ended = training.wait(training.run())
        assert ended["status"] == "FAILED"
        assert "The training worker can't start; it was tried 3 times." in ended["error"]
        assert "no engine is installed" in ended["error"]
        at_once = training.post("runsync", json={"input": {}}).json()
        assert at_once["status"] == "FAILED"
        assert http.get("/training/health").json()["workers"]["unhealthy"] == 1
    running.stop()


def test_the_environment_names_what_a_studio_needs(running: RunningMachine) -> None:
    assert set(running.machine.environment) == {
        "R2_ENDPOINT_URL",
        "R2_ACCOUNT_ID",
        "R2_ACCESS_KEY_ID",
        "R2_SECRET_ACCESS_KEY",
        "R2_LORA_BUCKET",
        "R2_OUTPUT_BUCKET",
        "RUNPOD_API_KEY",
        "RUNPOD_BASE_URL",
        "RUNPOD_TRAINING_ENDPOINT_ID",
        "RUNPOD_IMAGE_GENERATION_ENDPOINT_ID",
    }
    assert eventually(lambda: set(running.machine.worker_pids) == {plan.endpoint for plan in TEST_WORKERS})
