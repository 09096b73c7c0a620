"""What our worker adds to ai-toolkit's own time: prints the median ratio of the same training, bare and through it.

Run it as `python -m tests.bench.ai_toolkit_overhead CHECKOUT --python PYTHON`: where ai-toolkit lies, and the Python
that can run it. Bare is `python run.py config.json` with nobody looking on; through the worker is a request to the
local machine, from submission to result: queue, RunPod's SDK, fetching the pictures, ai-toolkit, uploads, publications.

Both times ai-toolkit has the first core for itself, and the others serve the rest, as no GPU worker has so few that
storage, gateway and studio would take turns with the training. A step of one tiny picture takes some 100 ms there, of
FLUX.1-dev on a GPU a second and more; --batch-size makes steps last. Each pair also prints what of ours can be seen
without comparing: the seconds before ai-toolkit is started and after it has ended, and the processor time that
everything but ai-toolkit took meanwhile.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from app.local_machine import LocalMachine
from backend.base_models import load_base_model, weights_folder
from backend.contract import TrainingRequest, TrainingResult
from backend.keys import RunKeys
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio
from tests.bench.toolkit_micro_model import ID, write_toolkit_base_models
from workers.environment import child_environment
from workers.training.engines import EngineJob, TrainingPicture
from workers.training.engines.ai_toolkit.files import lay_out

OWNER = "local"
MOST = 1.02
TOOLKIT_CORE = 0
LOOK_S = 0.05
STATE_S = 5.0  # each look at the run's state takes what a studio's poll does
PATIENCE_S = 3600


def bare_s(asked: argparse.Namespace, job: EngineJob) -> float:
    """Return the seconds that ai-toolkit takes by itself."""
    config = lay_out(job, gpu_memory_gb=0)
    environment = child_environment({"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "HOME": str(job.output)})
    since = time.monotonic()
    log = job.output / "bare.log"
    with log.open("w") as file:
        toolkit = subprocess.Popen(
            [asked.python, "run.py", config], cwd=asked.checkout, env=environment, stdout=file, stderr=file
        )
        psutil.Process(toolkit.pid).cpu_affinity([TOOLKIT_CORE])
        assert toolkit.wait(PATIENCE_S) == 0, log.read_text(errors="replace")[-3000:]
    return time.monotonic() - since


class Ours:
    """Watches this process's descendants while ai-toolkit, one of them, comes and goes."""

    def __init__(self) -> None:
        self._since, self._took_before = time.time(), _processor_s()
        self._toolkit: psutil.Process | None = None
        self._ended_at = self._since

    def look(self) -> bool:
        """Give ai-toolkit its core as it appears; return whether it has ended.

        Cheap, for what we take it can't have.
        """
        if self._toolkit is None:
            self._toolkit = next(filter(_is_toolkit, psutil.Process().children(recursive=True)), None)
            if self._toolkit:
                self._toolkit.cpu_affinity([TOOLKIT_CORE])
            return False
        if self._toolkit.is_running() and self._toolkit.status() != psutil.STATUS_ZOMBIE:
            self._ended_at = time.time()
            return False
        return True

    def told(self) -> str:
        """Return what was seen, in words."""
        assert self._toolkit
        before_s, after_s = self._toolkit.create_time() - self._since, time.time() - self._ended_at
        return (
            f"before ai-toolkit {before_s:.1f} s, after it {after_s:.1f} s; all else took "
            f"{_processor_s() - self._took_before:.1f} s of a processor, of which the machine has {os.cpu_count()}"
        )


def _processor_s() -> float:
    """Return what this process and its descendants have computed, less ai-toolkit."""
    took = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        if not _is_toolkit(process):
            times = process.cpu_times()
            took += times.user + times.system
    return took


def _is_toolkit(process: psutil.Process) -> bool:
    return "run.py" in process.cmdline()


def worker_s(
    studio: Studio, storage: Storage, dataset_id: str, wishes: dict[str, Any]
) -> tuple[float, dict[str, float], str]:
    """Return the seconds from submission to result, those of each phase, and what was seen of us meanwhile."""
    since, asked_at, ours = time.monotonic(), time.monotonic(), Ours()
    run_id = studio.training.start(OWNER, dataset_id, ID, **wishes)
    while True:
        time.sleep(LOOK_S)
        if not ours.look() and time.monotonic() - asked_at < STATE_S:
            continue
        asked_at, state = time.monotonic(), studio.runs.state(OWNER, run_id)
        if state.ended:
            break
        assert time.monotonic() - since < PATIENCE_S
    assert state.status == "done", state.failure
    seconds = time.monotonic() - since
    result = storage.loras.get_message(RunKeys(OWNER, run_id).result, TrainingResult)
    return seconds, {phase.phase: phase.seconds for phase in result.phases}, ours.told()


def job_for(
    folder: Path, base_models: Path, studio: Studio, storage: Storage, dataset_id: str, wishes: dict[str, Any]
) -> EngineJob:
    """Return what the worker would give the engine for the same request."""
    spec = load_base_model(ID, base_models)
    request = TrainingRequest(base_model=spec, dataset_key="a.zip", **wishes)
    model = weights_folder(spec, base_models)
    assert model
    pictures = []
    for index, image in enumerate(studio.datasets.get(OWNER, dataset_id).images):
        path = folder / f"{index:04d}{Path(image.key).suffix}"
        path.write_bytes(storage.loras.get(image.key))
        pictures.append(TrainingPicture(path=path, width=image.width, height=image.height, caption=image.caption))
    return EngineJob(
        spec=spec,
        settings=request.settings_for(spec),
        pictures=pictures,
        prompts=request.prompts_for(spec),
        model=model.absolute(),
        output=folder / "output",
        stem="zorbot",
    )


def measure(asked: argparse.Namespace, folder: Path) -> float:
    """Run the pairs and return the median ratio."""
    os.environ |= {
        "ATELIER_BASE_MODELS": str(folder / "base_models"),
        "ATELIER_TRAINING_ENGINE": "ai_toolkit",
        "AI_TOOLKIT_PATH": str(asked.checkout),
        "AI_TOOLKIT_PYTHON": str(asked.python),
    }
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {TOOLKIT_CORE})  # and so every process that is started here
    write_toolkit_base_models(folder / "base_models")
    machine = LocalMachine(Settings(atelier_home=folder / "home"))
    machine.start()
    settings = machine.settings()
    studio, storage = Studio.connect(settings), Storage(settings)
    try:
        dataset_id = studio.datasets.sample(OWNER).id
        (folder / "bare").mkdir()
        wishes = {"lora_name": "Zorbot", "trigger_word": "zorbot", "rank": 4, "steps": asked.steps}
        wishes |= {"save_every": asked.save_every, "batch_size": asked.batch_size}
        job = job_for(folder / "bare", folder / "base_models", studio, storage, dataset_id, wishes)
        # The first run reads everything from the disk, whoever makes it.
        bare_s(asked, job.model_copy(update={"settings": job.settings.model_copy(update={"steps": 2})}))
        ratios = []
        for _ in range(asked.pairs):
            bare = bare_s(asked, job)
            ours, phases, seen = worker_s(studio, storage, dataset_id, wishes)
            ratios.append(ours / bare)
            told = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in phases.items())
            print(f"bare {bare:.1f} s, through the worker {ours:.1f} s ({told}): {ours / bare:.3f}")
            print(f"  {seen}", flush=True)
    finally:
        studio.close()
        machine.stop()
    return statistics.median(ratios)


def main() -> int:
    """Measure and say so; return 1 above what we allow ourselves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="the folder of ai-toolkit, with its run.py")
    parser.add_argument("--python", type=Path, required=True, help="the Python that can run it")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args()
    asked.checkout, asked.python = asked.checkout.absolute(), asked.python.absolute()
    with tempfile.TemporaryDirectory() as name:
        ratio = measure(asked, Path(name))
    print(f"{asked.pairs} pairs of {asked.steps} steps: {ratio:.3f} times the bare command's time, at the median")
    return 0 if ratio <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
