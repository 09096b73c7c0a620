"""Measures the local gateway with two workers of RunPod's SDK: python -m tests.bench.gateway_latency

The submissions come at random moments: the SDK looks at its own queue ten times a second, and a rhythm of ours could
fall in step with it.
"""

import asyncio
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]

from tests.workers.local.conftest import Endpoint, client_for, eventually
from tests.workers.local.test_machine import MachineProcess
from workers.local.gateway import Gateway

ROUNDS = 40
IDLE_S = 20.0


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        began = time.monotonic()
        machine = MachineProcess(Path(folder))
        environment = machine.environment()
        tell("machine ready after", time.monotonic() - began, "s")
        asyncio.run(measure_gateway_alone(Path(folder)))
        with client_for(environment) as http:
            training = Endpoint(http, "training")
            training.post("runsync", json={"input": {}})
            tell("first job done after", time.monotonic() - began, "s")
            measure_jobs(training)
            measure_status(training)
            measure_requeue(training, Path(folder), machine)
        measure_idle(machine)
        tell("stopped, idle, after", machine.end(signal.SIGTERM), "s")
        machine.close()


async def measure_gateway_alone(folder: Path) -> None:
    """The gateway's own share: from sending /run to a job in the hands of a worker that waits for one."""
    gateway = Gateway(folder / "alone.db", {"training": 600}, "key", lambda worker_id, why, at_once: None)
    await gateway.start()
    gateway.dispatch.add_worker("training", "w")
    poll: dict[str, str | int] = {"token": gateway.dispatch.token, "job_in_progress": 0}
    headers = {"Authorization": "Bearer key"}
    times = []
    async with httpx.AsyncClient(base_url=f"{gateway.url}/v2/training", headers=headers, trust_env=False) as http:
        for _ in range(ROUNDS):
            taken = asyncio.create_task(http.get("/job-take/w", params=poll, timeout=10))
            await asyncio.sleep(0.05)
            began = time.perf_counter()
            await http.post("/run", json={"input": {}})
            job_id = (await taken).json()["id"]
            times.append((time.perf_counter() - began) * 1000)
            await http.post(f"/job-done/w/{job_id}", params=poll, json={"output": 1})
    await gateway.stop()
    tell_spread("/run to a waiting worker's hands", times)


def measure_jobs(training: Endpoint) -> None:
    starts, ends = [], []
    for _ in range(ROUNDS):
        time.sleep(1.2 + random.random() * 0.3)  # the SDK pauses for a second after a job
        sent_at = time.time()
        job_id = training.run()
        output = training.wait(job_id)["output"]
        ends.append((time.time() - sent_at) * 1000)
        starts.append((output["started_at"] - sent_at) * 1000)
    tell_spread("/run to handler start", starts)
    tell_spread("/run to COMPLETED seen", ends)


def measure_status(training: Endpoint) -> None:
    job_id = training.run()
    training.wait(job_id)
    tell_spread("/status", [milliseconds(lambda: training.status(job_id)) for _ in range(300)])


def measure_requeue(training: Endpoint, folder: Path, machine: MachineProcess) -> None:
    times = []
    for number in range(3):
        mark = folder / f"started-{number}"
        job_id = training.run(do="sleep", seconds=0.2, mark=str(mark))
        eventually(mark.exists)
        worker_id = training.status(job_id)["workerId"]
        os.kill(worker_process(machine, worker_id).pid, signal.SIGKILL)
        times.append(
            milliseconds(lambda job=job_id: eventually(lambda: training.status(job)["status"] == "IN_QUEUE", every_s=0))  # type: ignore[misc]
        )
        training.wait(job_id)
    tell_spread("worker killed to job queued again", times)


def measure_idle(machine: MachineProcess) -> None:
    time.sleep(3)
    root = psutil.Process(machine.process.pid)
    processes = {process: kind_of(process, root) for process in [root, *root.children(recursive=True)]}
    before = {process: cpu_s(process) for process in processes}
    time.sleep(IDLE_S)
    spent: dict[str, float] = {}
    for process, kind in processes.items():
        spent[kind] = spent.get(kind, 0) + cpu_s(process) - before[process]
    for kind, seconds in sorted(spent.items()):
        tell(f"idle CPU, {kind}", seconds / IDLE_S * 100, "% of a core")
    resident = dict.fromkeys(spent, 0.0)
    for process, kind in processes.items():
        resident[kind] += process.memory_info().rss / 2**20
    for kind, megabytes in sorted(resident.items()):
        tell(f"memory, {kind}", megabytes, "MB")


def worker_process(machine: MachineProcess, worker_id: str) -> psutil.Process:
    for process in psutil.Process(machine.process.pid).children():
        if process.environ().get("RUNPOD_POD_ID") == worker_id:
            return process
    raise LookupError(worker_id)


def kind_of(process: psutil.Process, root: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    if process == root:
        return "gateway"
    for part, kind in (("weed", "object store"), ("_guard_groups", "guard")):
        if part in words:
            return kind
    return "workers and their pings"


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def tell_spread(what: str, values: list[float]) -> None:
    worst = max(values)
    print(f"{what:<40} median {statistics.median(values):8.1f} ms   worst {worst:8.1f} ms   of {len(values)}")


def tell(what: str, value: float, unit: str) -> None:
    print(f"{what:<40} {value:15.2f} {unit}")


if __name__ == "__main__":
    main()
