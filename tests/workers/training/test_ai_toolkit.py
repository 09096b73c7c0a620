"""The ai_toolkit engine against a stand-in for ai-toolkit: every row of the table of how a job can end."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from PIL import Image

from backend.base_models import load_base_model
from backend.contract import Phase, Wish
from backend.errors import DatasetRejected, EngineDied, EngineError, OutOfMemory
from backend.settings import Settings
from tests.workers.training import ai_toolkit_stand_in
from workers.training.engines import EngineJob, ResumePoint, TrainingPicture
from workers.training.engines.ai_toolkit.attempt import NAN_STEPS_ALLOWED, Patience
from workers.training.engines.ai_toolkit.engine import make_engine
from workers.training.engines.ai_toolkit.files import toolkit_job

QUICK = Patience(poll_s=0.05, loading_s=30.0, other_s=30.0, save_s=5.0)


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.phases: list[tuple[Phase, str]] = []
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.samples: list[tuple[int, int]] = []
        self.checkpoints: dict[int, tuple[Path, Path | None]] = {}
        self.lines: list[str] = []
        self.wishes: asyncio.Queue[Wish] = asyncio.Queue()
        self.something = asyncio.Event()

    def phase(self, phase: Phase, message: str = "") -> None:
        self.phases.append((phase, message))
        self.something.set()

    def step(self, step: int, *, loss: float, learning_rate: float, seconds_per_step: float) -> None:
        self.steps.append(step)
        self.losses.append(loss)
        assert learning_rate == pytest.approx(1e-4)
        assert seconds_per_step >= 0
        self.something.set()

    def sample(self, step: int, index: int, path: Path) -> None:
        assert path.read_bytes() == b"RIFF a picture"
        self.samples.append((step, index))

    def checkpoint(self, step: int, path: Path, state: Path | None) -> None:
        assert path.stat().st_size > 16
        self.checkpoints[step] = (path, state)

    def log(self, line: str) -> None:
        self.lines.append(line)
        self.something.set()

    async def asked(self) -> Wish:
        return await self.wishes.get()

    async def until(self, met: Callable[["Heard"], bool], timeout_s: float = 20) -> None:
        async with asyncio.timeout(timeout_s):
            while not met(self):
                self.something.clear()
                await self.something.wait()


class Bench:
    """A job, the stand-in, and a way to run one with the other."""

    def __init__(self, folder: Path) -> None:
        self.toolkit = folder / "ai-toolkit"
        self.toolkit.mkdir()
        shutil.copy(Path(ai_toolkit_stand_in.__file__), self.toolkit / "run.py")
        picture = folder / "one.png"
        Image.new("RGB", (64, 64)).save(picture)
        spec = load_base_model("flux1-dev")
        self.job = EngineJob(
            spec=spec,
            settings=spec.training.model_copy(update={"steps": 12, "save_every": 5}),
            pictures=[TrainingPicture(path=picture, width=64, height=64, caption="a ${HOME} --w 9 [name]")],
            prompts=["a cat", "a dog"],
            model=folder / "model",
            output=folder / "output",
            stem="mine",
        )

    def with_settings(self, **changes: object) -> None:
        self.job = self.job.model_copy(update={"settings": self.job.settings.model_copy(update=changes)})

    async def train(self, patience: Patience = QUICK, **behaviour: object) -> Heard:
        heard = Heard()
        await self.run(heard, patience, **behaviour)
        return heard

    async def run(self, heard: Heard, patience: Patience = QUICK, **behaviour: object) -> None:
        (self.toolkit / "behaviour.json").write_text(json.dumps(behaviour))
        settings = Settings(
            atelier_training_engine="ai_toolkit", ai_toolkit_path=self.toolkit, ai_toolkit_python=sys.executable
        )
        self.job.output.mkdir(exist_ok=True)
        await make_engine(settings, patience)(self.job, heard)

    async def cancel_when(
        self, met: Callable[[Heard], bool], heard: Heard, patience: Patience = QUICK, **behaviour: object
    ) -> float:
        running = asyncio.create_task(self.run(heard, patience, **behaviour))
        await heard.until(met)
        running.cancel()
        began = asyncio.get_running_loop().time()
        with pytest.raises(asyncio.CancelledError):
            await running
        return asyncio.get_running_loop().time() - began

    @property
    def seen(self) -> dict[str, dict[str, str]]:
        seen: dict[str, dict[str, str]] = json.loads((self.toolkit / "seen.json").read_text())
        return seen


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_training_reports_phases_steps_samples_and_whole_checkpoints(bench: Bench) -> None:
    heard = await bench.train(step_s=0.02)
    entered = [phase for phase, _ in heard.phases]
    assert entered[0] == "starting"
    assert {"loading model", "training"} <= set(entered)
    assert heard.steps == list(range(1, 13))
    assert not any("\x1b" in line or not line for line in heard.lines)
    assert heard.losses[-1] == pytest.approx(1 / 12, rel=1e-3)  # what the bar says has four digits
    assert heard.samples == [(step, index) for step in (0, 5, 10, 12) for index in (0, 1)]
    assert list(heard.checkpoints) == [5, 10, 12]
    assert all(state and state.exists() for _, state in heard.checkpoints.values())
    assert heard.checkpoints[12][0].name == "mine_000000012.safetensors"


async def test_captions_and_secrets_stay_where_they_are(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    await bench.train()
    assert "secret" not in bench.seen["environment"].values()
    assert bench.seen["environment"]["HF_HUB_OFFLINE"] == "1"
    caption = (bench.job.output / "toolkit" / "dataset" / "00000.txt").read_text(encoding="utf-8")
    assert caption == "a $ {HOME} —w 9 name"


async def test_progress_bars_are_enough_where_the_loss_log_is_missing(bench: Bench) -> None:
    heard = await bench.train(without_loss_log=True, step_s=0.02)
    assert heard.steps == list(range(1, 13))
    assert heard.losses == pytest.approx([1 / step for step in heard.steps], rel=1e-3)


async def test_every_checkpoint_outlives_the_pruning(bench: Bench) -> None:
    bench.with_settings(save_every=1)
    heard = await bench.train(step_s=0.03)
    assert len(heard.checkpoints) == 12
    assert all(path.exists() for path, _ in heard.checkpoints.values())


async def test_cancelling_saves_the_step_and_it_is_resumed_exactly_there(bench: Bench) -> None:
    heard = Heard()
    bench.with_settings(steps=400, save_every=200)
    assert await bench.cancel_when(lambda heard: heard.steps[-1:] >= [20], heard, step_s=0.02) < 6
    ((step, (_, state)),) = heard.checkpoints.items()
    assert step >= 20
    assert state is not None
    # ai-toolkit has logged no more than what it had written a quarter of a second ago: its bar says the rest.
    assert heard.steps == list(range(1, heard.steps[-1] + 1))
    assert heard.steps[-1] >= step
    assert heard.losses == pytest.approx([1 / step for step in heard.steps], rel=1e-3)
    kept = bench.job.output.parent / "state.bin"
    shutil.copy(state, kept)
    bench.with_settings(steps=step + 10)
    bench.job = bench.job.model_copy(update={"resume": ResumePoint(step=step, state=kept)})
    resumed = await bench.train(step_s=0.02)
    assert resumed.steps == list(range(step + 1, step + 11))
    assert f"Found step {step} in metadata, starting from there" in resumed.lines
    assert (0, 0) not in resumed.samples


async def test_what_is_asked_for_is_saved_and_sampled_in_between(bench: Bench) -> None:
    heard = Heard()
    bench.with_settings(steps=30, save_every=1000)
    training = asyncio.create_task(bench.run(heard, waits_at={"8": "save_now", "20": "sample_now"}))
    await heard.until(lambda heard: "waiting for save_now" in heard.lines)
    heard.wishes.put_nowait("save")
    await heard.until(lambda heard: "waiting for sample_now" in heard.lines)
    assert list(heard.checkpoints) == [9]
    heard.wishes.put_nowait("sample")
    await training
    assert list(heard.checkpoints) == [9, 30]
    assert heard.samples == [(step, index) for step in (0, 21, 30) for index in (0, 1)]
    assert heard.steps == list(range(1, 31))


async def test_what_is_asked_for_when_it_is_due_comes_once(bench: Bench) -> None:
    heard = Heard()
    bench.with_settings(save_every=1)
    training = asyncio.create_task(bench.run(heard, waits_at={"5": "save_now", "7": "sample_now"}))
    await heard.until(lambda heard: "waiting for save_now" in heard.lines)
    heard.wishes.put_nowait("save")
    await heard.until(lambda heard: "waiting for sample_now" in heard.lines)
    heard.wishes.put_nowait("sample")
    await training
    assert heard.lines.count("Saving at step 6") == heard.lines.count("Sampling at step 8") + 1 == 2
    assert list(heard.checkpoints) == list(range(1, 13))
    assert heard.samples == [(step, index) for step in range(13) for index in (0, 1)]
    assert heard.steps == list(range(1, 13))


async def test_a_finished_training_goes_on_to_more_steps(bench: Bench) -> None:
    first = await bench.train(step_s=0.02)
    state = first.checkpoints[12][1]
    assert state is not None
    kept = Path(shutil.copy(state, bench.job.output.parent / "state.bin"))
    bench.with_settings(steps=17)
    resume = ResumePoint(step=12, state=kept, samples=(0, 1))
    bench.job = bench.job.model_copy(update={"resume": resume, "output": bench.job.output.parent / "again"})
    longer = await bench.train(step_s=0.02)
    assert "Found step 12 in metadata, starting from there" in longer.lines
    assert longer.steps == [13, 14, 15, 16, 17]
    assert list(longer.checkpoints) == [15, 17]
    assert longer.samples == [(15, 0), (15, 1), (17, 0), (17, 1)]


async def test_samples_that_an_earlier_attempt_missed_are_made(bench: Bench) -> None:
    first = await bench.train(step_s=0.02)
    state = first.checkpoints[5][1]
    assert state is not None
    kept = bench.job.output.parent / "state.bin"
    shutil.copy(state, kept)
    bench.job = bench.job.model_copy(update={"resume": ResumePoint(step=5, state=kept, samples=[0])})
    assert (5, 1) in (heard := await bench.train(step_s=0.02)).samples
    assert (5, 0) not in heard.samples


def test_samples_come_at_a_resumed_checkpoint_only_if_they_are_missing(bench: Bench) -> None:
    for step, samples, due in [(5, (), True), (5, (0, 1), False), (6, (), False)]:
        resume = ResumePoint(step=step, state=Path("state.bin"), samples=samples)
        assert toolkit_job(bench.job.model_copy(update={"resume": resume})).samples_are_due is due
    assert not toolkit_job(bench.job).samples_are_due


async def test_a_step_that_takes_too_long_is_given_up_for_the_checkpoint_before(bench: Bench) -> None:
    heard = Heard()
    bench.with_settings(steps=40, save_every=8)
    waiting = QUICK._replace(save_s=0.5)

    def hangs(heard: Heard) -> bool:
        return "hanging" in heard.lines and heard.steps[-1:] == [13]

    await bench.cancel_when(hangs, heard, waiting, at={"13": "hang"})
    assert list(heard.checkpoints) == [8]
    assert any("step 13 could not be saved within 0.5 s" in line for line in heard.lines)


async def test_a_resumed_training_that_has_done_nothing_new_is_ended_at_once(bench: Bench) -> None:
    first = await bench.train(step_s=0.02)
    state = first.checkpoints[5][1]
    assert state is not None
    kept = Path(shutil.copy(state, bench.job.output.parent / "state.bin"))
    bench.job = bench.job.model_copy(update={"resume": ResumePoint(step=5, state=kept)})
    heard = Heard()
    running = asyncio.create_task(bench.run(heard, at={"load": "hang"}))
    await heard.until(lambda heard: ("loading model", "Loading model") in heard.phases)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(2):
            await running


_WORKER = """
import asyncio, sys
from pathlib import Path
from backend.settings import Settings
from tests.workers.training.test_ai_toolkit import Heard
from workers.training.engines import EngineJob
from workers.training.engines.ai_toolkit.engine import make_engine

class Said(Heard):
    def step(self, step, **rest):
        print(step, flush=True)

job = EngineJob.model_validate_json(Path(sys.argv[1]).read_text())
settings = Settings(ai_toolkit_path=sys.argv[2], ai_toolkit_python=sys.executable)
asyncio.run(make_engine(settings)(job, Said()))
"""


def test_a_killed_worker_leaves_no_training_behind(bench: Bench) -> None:
    bench.with_settings(steps=4000, save_every=2000)
    (bench.toolkit / "behaviour.json").write_text('{"step_s": 0.05}')
    bench.job.output.mkdir()
    job = bench.toolkit / "job.json"
    job.write_text(bench.job.model_dump_json())
    command = [sys.executable, "-c", _WORKER, job, bench.toolkit]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as worker:
        assert worker.stdout and worker.stdout.readline()
        started = psutil.Process(worker.pid).children(recursive=True)
        assert len(started) == 2  # ai-toolkit and the guard
        worker.kill()
    _, alive = psutil.wait_procs(started, timeout=8)
    assert not alive


async def test_cancelling_before_the_first_step_ends_at_once(bench: Bench) -> None:
    heard = Heard()
    running = asyncio.create_task(bench.run(heard, at={"load": "hang"}))
    await heard.until(lambda heard: ("loading model", "Loading model") in heard.phases)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(3):
            await running
    assert not heard.checkpoints


async def test_out_of_memory_in_a_step_is_tried_again_with_less(bench: Bench) -> None:
    bench.with_settings(low_vram=False)
    heard = await bench.train(at={"7": "out of memory unless lean"}, step_s=0.02)
    assert any("Trying again" in line for line in heard.lines)
    config = bench.seen["config"]["config"]["process"][0]  # type: ignore[index]
    assert config["datasets"][0]["resolution"] == [512, 768]
    assert config["model"]["low_vram"] and config["train"]["cache_text_embeddings"]
    assert 12 in heard.checkpoints
    assert "Found step 5 in metadata, starting from there" in heard.lines


@pytest.mark.parametrize("where", ["load", "cache", "3", "sample 5"])
async def test_out_of_memory_twice_is_said_so(bench: Bench, where: str) -> None:
    with pytest.raises(OutOfMemory, match=r"GPU ran out of memory.*Lower the resolution"):
        await bench.train(at={where: "out of memory"})


async def test_a_kill_from_outside_is_the_computers_memory(bench: Bench) -> None:
    with pytest.raises(OutOfMemory, match="the computer ran out of memory"):
        await bench.train(at={"3": "kill"})


async def test_a_skipped_batch_alone_is_no_failure(bench: Bench) -> None:
    heard = await bench.train(skip_at=[3])
    assert 12 in heard.checkpoints


@pytest.mark.parametrize(
    ("behaviour", "error", "words"),
    [
        ({"at": {"3": "mat1 and mat2 shapes cannot be multiplied"}}, EngineError, "mat1 and mat2 shapes"),
        ({"at": {"3": "[Errno 28] No space left on device"}}, EngineError, "The disk is full"),
        ({"at": {"3": "terminate"}}, EngineDied, "ended by SIGTERM"),
        ({"at": {"3": "interrupt"}}, EngineError, "stopped from outside"),
        ({"cut_off": True}, EngineError, "is damaged, cut short"),
        ({"without_status": True}, EngineError, "ended without finishing"),
        ({"nan_at": list(range(1, 25))}, EngineError, "The loss was not a number"),
    ],
)
async def test_each_way_to_fail_is_told_in_words(
    bench: Bench, behaviour: dict[str, object], error: type[Exception], words: str
) -> None:
    bench.with_settings(steps=40, save_every=20)
    with pytest.raises(error, match=words):
        await bench.train(**behaviour)


@pytest.mark.parametrize("where", ["load", "3"])
async def test_a_silence_is_not_waited_for_without_end(bench: Bench, where: str) -> None:
    with pytest.raises(EngineError, match="said nothing for"):
        await bench.train(QUICK._replace(loading_s=1.0, other_s=1.0), at={where: "hang"})


async def test_a_few_losses_that_are_no_number_are_flagged(bench: Bench) -> None:
    heard = await bench.train(nan_at=[2, 3], step_s=0.03)
    assert NAN_STEPS_ALLOWED > 2
    assert any("not a number in 2 steps" in message for _, message in heard.phases)


async def test_a_training_that_forgot_where_it_was_is_ended(bench: Bench) -> None:
    first = await bench.train(step_s=0.02)
    state = first.checkpoints[10][1]
    assert state is not None
    kept = shutil.copy(state, bench.job.output.parent / "state.bin")
    bench.job = bench.job.model_copy(update={"resume": ResumePoint(step=10, state=kept)})
    with pytest.raises(EngineError, match="began again at step"):
        await bench.train(forgets=True, step_s=0.02)


async def test_a_damaged_picture_is_refused_before_anything_is_spent(bench: Bench) -> None:
    path = bench.job.pictures[0].path
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetRejected, match=r"one\.png is damaged"):
        await bench.train()
    assert not (bench.toolkit / "seen.json").exists()


async def test_a_damaged_state_is_refused(bench: Bench) -> None:
    broken = bench.job.output.parent / "state.bin"
    broken.write_bytes(b"not an archive")
    bench.job = bench.job.model_copy(update={"resume": ResumePoint(step=5, state=broken)})
    with pytest.raises(EngineError, match="saved at step 5 is damaged"):
        await bench.train()
