"""A whole training: from the request over the real engine to real storage, with the micro model."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors import safe_open

from backend.base_models import load_base_model
from backend.contract import (
    BaseModelSpec,
    Dataset,
    DatasetImage,
    LoraRecord,
    Metrics,
    Progress,
    Submission,
    TrainingRequest,
    TrainingResult,
    Wish,
    new_id,
    new_run_id,
)
from backend.errors import BaseModelRejected, EngineDied, EngineError, InvalidRequest, StorageError
from backend.keys import LoraKeys, RunKeys
from backend.settings import Settings
from backend.storage import Storage
from backend.trainable import check_trainable
from tests.workers.hub import Hub
from workers.report import Report
from workers.runtime import Run, Worker
from workers.training.engines import EngineJob, Listener, TrainingPicture
from workers.training.train import downloading, make_work, train
from workers.training.uploads import Uploads

MakeRun = Callable[..., Run[TrainingRequest]]


@pytest.fixture
def dataset_key(storage: Storage, owner: str, pictures: list[TrainingPicture]) -> str:
    images = []
    for picture in pictures:
        key = f"datasets/{owner}/{picture.path.name}"
        storage.loras.upload(key, picture.path)
        images.append(
            DatasetImage(
                key=key,
                sha256="0" * 64,
                name=picture.path.name,
                width=picture.width,
                height=picture.height,
                bytes=picture.path.stat().st_size,
                caption=picture.caption,
            )
        )
    record = Dataset(id=new_id(), name="Mine", owner=owner, created_at=0, images=images)
    storage.loras.put_message(f"datasets/{owner}/dataset.json", record)
    return f"datasets/{owner}/dataset.json"


@pytest.fixture
def make_run(
    storage: Storage,
    storage_settings: Settings,
    owner: str,
    dataset_key: str,
    micro: BaseModelSpec,
    base_models: Path,
    tmp_path: Path,
) -> MakeRun:
    settings = storage_settings.model_copy(update={"atelier_base_models": base_models})

    def make(run_id: str = "", attempt: int = 1, **wishes: Any) -> Run[TrainingRequest]:
        keys = RunKeys(owner, run_id or new_run_id("train"))
        asked = {"lora_name": "My zorbot!", "trigger_word": "zorbot", "dataset_key": dataset_key} | wishes
        request = TrainingRequest(run_id=keys.run_id, owner=owner, attempt=attempt, base_model=micro.id, **asked)
        folder = tmp_path / f"{keys.run_id}-{attempt}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        report = Report(keys, attempt, storage.loras.find_message(keys.progress, Progress))
        return Run(request, micro, keys, settings, storage, report, folder)

    return make


def publish(run: Run[TrainingRequest]) -> None:
    """What the runtime does once a second."""
    run.report.take_changes(all_of_it=True).store(run.storage)


async def stepped(run: Run[TrainingRequest], step: int) -> None:
    async with asyncio.timeout(60):
        while run.report.last_step < step:  # noqa: ASYNC110 - the report tells nobody
            await asyncio.sleep(0.02)


async def handle(run: Run[TrainingRequest]) -> TrainingResult:
    """Do a run the whole way a job of RunPod's takes, and return what it is answered with."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        worker = Worker("train", TrainingRequest, make_work(run.settings), run.settings)
        answer = await worker.handle({"id": "a-job", "input": run.request.model_dump(mode="json")})
    finally:
        signal.signal(signal.SIGTERM, before)
    return TrainingResult.model_validate(answer)


async def test_a_dataset_becomes_a_lora(make_run: MakeRun, storage: Storage) -> None:
    run = make_run(steps=6, save_every=3)
    result = await make_work(run.settings)(run)
    assert isinstance(result, TrainingResult)
    keys = LoraKeys(run.request.owner, run.keys.run_id)
    assert result.lora_key == keys.file("My-zorbot")
    assert [checkpoint.step for checkpoint in result.checkpoints] == [3, 6]
    assert [sample.step for sample in result.samples] == [0, 0, 3, 3, 6, 6]
    assert result.samples[0].prompt == "a zorbot"

    record = storage.loras.get_message(keys.record, LoraRecord)
    assert (record.name, record.rank, record.steps, record.base_model) == ("My zorbot!", 4, 6, "micro-flux")
    assert storage.loras.head(record.key).sha256 == record.sha256 == result.sha256
    storage.loras.download(record.key, run.folder / "lora.safetensors")
    with safe_open(run.folder / "lora.safetensors", framework="numpy") as file:
        said = file.metadata()
    assert said["modelspec.trigger_phrase"] == "zorbot"
    assert said["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")

    assert record.thumb_key
    storage.loras.download(record.thumb_key, run.folder / "thumb.webp")
    with Image.open(run.folder / "thumb.webp") as image:
        assert image.format == "WEBP"
    assert [stored.key for stored in storage.loras.list_all(run.keys.states)] == [run.keys.state(6)]
    assert {phase.phase for phase in result.phases} >= {"fetching data", "caching", "training", "sampling", "uploading"}


async def test_a_second_job_of_a_run_that_was_cancelled_is_not_begun(make_run: MakeRun, storage: Storage) -> None:
    run = make_run(steps=20_000)
    cancelled = Submission(run_id=run.keys.run_id, attempt=1, job_id="another", submitted_at=0, cancelled=True)
    storage.loras.put_message(run.keys.submission, cancelled)
    worker = Worker("train", TrainingRequest, make_work(run.settings), run.settings)
    reply = await worker.handle({"id": "job", "input": run.request.model_dump(mode="json", exclude_none=True)})
    assert reply["error"].startswith("This run was cancelled")
    assert not storage.loras.exists(run.keys.progress)


async def test_a_cancelled_run_goes_on_at_the_exact_step(make_run: MakeRun, storage: Storage) -> None:
    first = make_run(steps=200, save_every=100)
    task = asyncio.create_task(make_work(first.settings)(first))
    await stepped(first, 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    step = first.report.last_step
    assert [kept.step for kept in first.report.checkpoints] == [step]
    publish(first)

    # The same run, handed in again; its length is cut so that it ends soon.
    second = make_run(first.keys.run_id, attempt=2, steps=step + 3, save_every=100)
    result = await make_work(second.settings)(second)
    assert [kept.step for kept in result.checkpoints] == [step, step + 3]
    assert [(sample.step) for sample in result.samples] == [0, 0, step + 3, step + 3]
    publish(second)
    curve = json.loads(storage.loras.get(second.keys.metrics(0)))
    assert curve["steps"] == list(range(1, step + 4))
    training = next(phase.seconds for phase in result.phases if phase.phase == "training")
    before = next(phase.seconds for phase in first.report.phases if phase.phase == "training")
    assert training > before


async def test_a_finished_run_is_extended(make_run: MakeRun, storage: Storage) -> None:
    first = make_run(steps=5, save_every=3)
    handed_over = Submission(run_id=first.keys.run_id, attempt=1, job_id="j", submitted_at=time.time() - 100)
    storage.loras.put_message(first.keys.submission, handed_over)
    before = await handle(first)
    assert next(each.seconds for each in before.phases if each.phase == "queued") == pytest.approx(100, abs=10)
    assert before.seconds < 100
    again = await handle(make_run(first.keys.run_id, steps=5, save_every=3))  # handed out a second time
    assert again == before

    longer = make_run(first.keys.run_id, attempt=2, steps=8, save_every=3)
    after = await handle(longer)
    assert after == storage.loras.get_message(first.keys.result, TrainingResult)
    assert (before.attempt, before.steps, after.attempt, after.steps) == (1, 5, 2, 8)
    assert [kept.step for kept in after.checkpoints] == [3, 5, 6, 8]
    assert [sample.step for sample in after.samples] == [0, 0, 3, 3, 5, 5, 6, 6, 8, 8]
    assert json.loads(storage.loras.get(first.keys.metrics(0)))["steps"] == list(range(1, 9))
    assert after.seconds > before.seconds
    assert [stored.key for stored in storage.loras.list_all(first.keys.states)] == [first.keys.state(8)]

    assert after.lora_key == before.lora_key
    assert after.sha256 != before.sha256
    record = storage.loras.get_message(LoraKeys(first.request.owner, first.keys.run_id).record, LoraRecord)
    assert (record.steps, record.sha256) == (8, after.sha256)

    # A retry that asks for no more than there is gets it, as its own.
    late = await handle(make_run(first.keys.run_id, attempt=3, steps=8, save_every=3))
    assert (
        late == after.model_copy(update={"attempt": 3}) == storage.loras.get_message(first.keys.result, TrainingResult)
    )


async def test_a_finished_run_whose_state_is_gone_is_not_begun_anew(make_run: MakeRun, storage: Storage) -> None:
    first = make_run(steps=2, save_every=2)
    storage.loras.put_message(first.keys.result, await train(first, fake_engine))
    publish(first)
    storage.loras.delete([first.keys.state(2)])
    with pytest.raises(InvalidRequest, match=r"was not kept\. Start a new training"):
        await train(make_run(first.keys.run_id, attempt=2, steps=4, save_every=2), fake_engine)
    assert storage.loras.head(first.keys.checkpoint("My-zorbot", 2))


async def fake_engine(job: EngineJob, listener: Listener) -> None:
    """Writes what an engine would, three steps at a time, and dies behind the first checkpoint of a fresh start."""
    start = job.resume.step if job.resume else 0
    job.output.mkdir()
    for step in range(start + 1, job.settings.steps + 1):
        listener.step(step, loss=1.0, learning_rate=0.1, seconds_per_step=0.01)
        if step % job.settings.save_every == 0:
            path, state = job.output / f"{step}.safetensors", job.output / f"{step}.bin"
            path.write_bytes((2).to_bytes(8, "little") + b"{}")
            state.write_bytes(b"state %d" % step)
            listener.checkpoint(step, path, state)
            if not job.resume and step == 6:
                raise EngineDied("The training process was killed.")
    assert not job.resume or job.resume.state.read_bytes() == b"state %d" % start


async def test_what_is_asked_for_reaches_the_engine_once(make_run: MakeRun, storage: Storage) -> None:
    run = make_run(steps=3, save_every=3)
    heard: list[Wish] = []

    async def patient(job: EngineJob, listener: Listener) -> None:
        asked = Submission(run_id=run.keys.run_id, attempt=run.request.attempt, job_id="j", submitted_at=0, saves=2)
        storage.loras.put_message(run.keys.submission, asked)
        heard.append(await listener.asked())
        storage.loras.put_message(run.keys.submission, asked.model_copy(update={"samplings": 1}))
        heard.append(await listener.asked())
        storage.loras.put_message(run.keys.submission, asked.model_copy(update={"samplings": 9, "attempt": 9}))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                waiting = asyncio.create_task(listener.asked())
                await asyncio.sleep(0.1)
                assert run.report.snapshot().takes_wishes
                heard.append(await waiting)
        assert not run.report.snapshot().takes_wishes
        await fake_engine(job, listener)

    await train(run, patient)
    assert heard == ["save", "sample"]


async def test_only_the_newest_state_is_kept_and_here_only_its_checkpoint(make_run: MakeRun, storage: Storage) -> None:
    run = make_run(steps=9, save_every=3)
    with pytest.raises(EngineDied):
        await train(run, fake_engine)
    assert [stored.key for stored in storage.loras.list_all(run.keys.states)] == [run.keys.state(6)]
    assert [kept.step for kept in run.report.checkpoints] == [3, 6]
    assert sorted(path.name for path in (run.folder / "output").iterdir()) == ["6.bin", "6.safetensors"]


async def test_what_is_not_stored_in_time_is_said(make_run: MakeRun, pictures: list[TrainingPicture]) -> None:
    run = make_run()
    uploads = Uploads(run, run.request.settings_for(run.spec), ["a zorbot"], 1, "stem")
    uploads.sample(1, 0, pictures[0].path)
    with pytest.raises(StorageError, match="was not stored within 0 s"):
        await uploads.finish(0)
    await uploads.finish()
    await uploads.close()
    assert [sample.step for sample in run.report.samples] == [1]


async def test_a_worker_that_died_without_a_word_is_gone_on_from(make_run: MakeRun, storage: Storage) -> None:
    first = make_run(steps=9, save_every=3)
    with pytest.raises(EngineDied):
        await train(first, fake_engine)
    # Nothing else was published, but a stretch of the curve from far behind the last checkpoint.
    storage.loras.put_message(first.keys.metrics(500), Metrics(steps=[501], loss=[1.0], learning_rate=[0.1]))
    second = make_run(first.keys.run_id, steps=9, save_every=3)
    result = await train(second, fake_engine)
    assert [kept.step for kept in result.checkpoints] == [6, 9]
    assert not storage.loras.exists(first.keys.metrics(500))


async def test_a_damaged_state_is_not_gone_on_from(make_run: MakeRun, storage: Storage) -> None:
    first = make_run(steps=9, save_every=3)
    with pytest.raises(EngineDied):
        await train(first, fake_engine)
    storage.loras.put(first.keys.state(6), b"damaged", metadata={"sha256": "0" * 64})
    second = make_run(first.keys.run_id, attempt=2, steps=9, save_every=3)
    with pytest.raises(EngineDied):  # as on the first start
        await train(second, fake_engine)
    assert [kept.step for kept in second.report.checkpoints] == [3, 6]


async def test_a_run_whose_last_checkpoint_is_stored_needs_no_step(make_run: MakeRun) -> None:
    first = make_run(steps=6, save_every=3)
    with pytest.raises(EngineDied):
        await train(first, fake_engine)
    second = make_run(first.keys.run_id, steps=6, save_every=3)
    result = await train(second, fake_engine)
    assert (result.steps, [kept.step for kept in result.checkpoints]) == (6, [6])


async def test_an_engine_that_stops_short_makes_no_lora(make_run: MakeRun, storage: Storage) -> None:
    async def lazy(job: EngineJob, listener: Listener) -> None:
        listener.log("nothing to do")

    run = make_run()
    with pytest.raises(EngineError, match="without its last checkpoint"):
        await train(run, lazy)
    assert not storage.loras.exists(LoraKeys(run.request.owner, run.keys.run_id).record)


async def test_a_download_is_told_in_bytes_and_a_cancel_ends_it(
    make_run: MakeRun, hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    hub.file_takes_s = 60
    made = make_run()
    run = replace(made, spec=hub_spec, settings=made.settings.model_copy(update={"atelier_volume": made.folder}))
    training = asyncio.create_task(train(run, fake_engine))
    async with asyncio.timeout(20):
        while run.report.snapshot().message != "Downloading FLUX.1-dev: 0.0 of 1.0 MB":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    training.cancel()
    cancelled = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await training
    assert time.monotonic() - cancelled < 2


async def test_a_base_model_the_engine_can_t_train_is_refused_before_a_byte_is_fetched(
    make_run: MakeRun, hub_spec: BaseModelSpec, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    made = make_run()
    with_toolkit = made.settings.model_copy(update={"atelier_training_engine": "ai_toolkit"})
    without_block = hub_spec.model_copy(update={"ai_toolkit": {}})
    with pytest.raises(BaseModelRejected, match=r"FLUX.1-dev can't be trained with ai-toolkit"):
        await train(replace(made, spec=without_block, settings=with_toolkit), fake_engine)
    with pytest.raises(BaseModelRejected, match="Stable Diffusion XL can't be trained here"):
        await train(replace(made, spec=load_base_model("sdxl")), fake_engine)
    assert not hub.served


def test_a_download_is_told_in_gb() -> None:
    assert downloading("FLUX.1-dev", 3_123_000_000, 23_800_000_000) == "Downloading FLUX.1-dev: 3.1 of 23.8 GB"


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"resolution": [100]}, r"'resolution' is 100 pixels; Tiny FLUX needs a multiple of 16\. Use 96"),
        ({"resolution": [128, 512]}, r"'resolution' is 512 pixels; Tiny FLUX takes at most 160"),
    ],
)
def test_what_a_base_model_can_t_do_is_refused(wishes: dict[str, Any], said: str) -> None:
    spec = load_base_model("tiny-flux")
    request = TrainingRequest(base_model="tiny-flux", lora_name="Z", dataset_key="a.zip", **wishes)
    with pytest.raises(InvalidRequest, match=said):
        check_trainable(spec, request.settings_for(spec), "diffusers")


def test_prior_preservation_needs_prompts() -> None:
    spec = load_base_model("flux1-dev")
    request = TrainingRequest(lora_name="Z", dataset_key="a.zip", prior_preservation=True)
    with pytest.raises(InvalidRequest, match="'prior_preservation' is on, but FLUX"):
        check_trainable(spec, request.settings_for(spec), "ai_toolkit")
