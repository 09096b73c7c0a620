"""The machine as a process: how it starts, ends, and comes back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.workers.local.conftest import (
    TEST_WORKERS,
    Endpoint,
    RunningMachine,
    client_for,
    eventually,
    guards,
    processes_of,
)
from workers.local.machine import Machine, worker_environment
from workers.local.worker_process import WorkerPlan

OWN = ("R2_ENDPOINT_URL", "R2_SECRET_ACCESS_KEY", "RUNPOD_BASE_URL", "RUNPOD_API_KEY")
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
def start_machine(home: Path) -> Iterator[Callable[[], MachineProcess]]:
    """Start machines in the same home; whatever a failed test leaves running ends with it."""
    started: list[MachineProcess] = []

    def start() -> MachineProcess:
        started.append(MachineProcess(home))
        return started[-1]

    yield start
    for machine in started:
        machine.close()


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path: it is kept, with its hundred megabytes of storage, for three sessions.
    home = Path(os.environ.get("TMPDIR", "/tmp"), f"atelier-{os.getpid()}-{time.monotonic_ns()}")  # noqa: S108
    yield home
    shutil.rmtree(home, ignore_errors=True)


def test_a_kill_leaves_no_process_and_loses_no_job(
    home: Path, running: RunningMachine, start_machine: Callable[[], MachineProcess]
) -> None:
    first = start_machine()
    environment, others = first.environment(), running.machine.environment
    assert not {environment[name] for name in OWN} & {others[name] for name in OWN}
    with client_for(environment) as http:
        training = Endpoint(http, "training")
        interrupted = training.run(do="sleep", seconds=0.5, mark=str(home / "started"))
        waiting = training.run(say="still here")
        eventually((home / "started").exists)
        # machine, guard, weed, two workers with their pings
        eventually(lambda: len(processes_of(home, first.process.pid)) == 7, every_s=0.2)
    first.process.send_signal(signal.SIGKILL)

    # Started again at once, it waits until the guard of the first has done its work.
    second = start_machine()
    with client_for(second.environment()) as http:
        command_lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
        assert not [words for words in command_lines if guards(words, first.process.pid)]
        assert sum("weed" in line for line in processes_of(home, second.process.pid)) == 1
        training = Endpoint(http, "training")
        assert training.wait(interrupted)["output"] == "slept"
        assert training.wait(waiting)["output"]["echo"] == "still here"

    refused = start_machine()
    said = refused.process.communicate(timeout=10)[1]
    assert refused.process.returncode == 1
    assert f"Another studio (process {second.process.pid}) is using {home}." in said

    assert second.end(None) < 10
    assert second.process.returncode == 0
    with client_for(others) as http:
        assert Endpoint(http, "training").post("runsync", json={"input": {}}).json()["status"] == "COMPLETED"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it(
    home: Path, start_machine: Callable[[], MachineProcess], number: signal.Signals
) -> None:
    machine = start_machine()
    eventually(lambda: (home / "logs" / "object_store.log").exists())
    assert machine.end(number) < 10
    assert machine.process.returncode == 0


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


def test_workers_go_by_the_studios_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        "ATELIER_BASE_MODELS": "my-models",
        "ATELIER_TRAINING_ENGINE": "ai_toolkit",
        "AI_TOOLKIT_PATH": "ai-toolkit",
        "AI_TOOLKIT_PYTHON": "/opt/ai-toolkit/bin/python",
        "ATELIER_IMAGE_ENGINE": "comfyui",
        "COMFYUI_PATH": "/opt/comfyui",
        "COMFYUI_PYTHON": "/opt/comfyui/bin/python",
        "COMFYUI_ARGUMENTS": "--cpu",
        "HF_TOKEN": "hf_mine",
    }
    for name, value in {**given, "ATELIER_PASSWORD": "the studio's own"}.items():
        monkeypatch.setenv(name, value)
    environment = worker_environment(tmp_path / "home", {"R2_LORA_BUCKET": "loras"})
    here = {"ATELIER_BASE_MODELS": str(tmp_path / "my-models"), "AI_TOOLKIT_PATH": str(tmp_path / "ai-toolkit")}
    assert environment.items() >= {**given, **here, "R2_LORA_BUCKET": "loras"}.items()
    assert "ATELIER_PASSWORD" not in environment
