"""Grids over real storage and a scripted RunPod: what is drawn, what has become of it, what is refused."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from backend.contract import (
    Checkpoint,
    GeneratedImage,
    GenerationRequest,
    GenerationResult,
    JobFailure,
    LoraRecord,
    Progress,
    TrainingRequest,
    new_run_id,
)
from backend.errors import InvalidRequest, NotFound, RunPodError
from backend.grids.plan import GridWish
from backend.grids.record import GridRecord
from backend.keys import GridKeys, ImageKeys, LoraKeys, RunKeys
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio
from tests.backend.runs.test_runs import RunPodServer, progress


@pytest.fixture
def runpod() -> Iterator[RunPodServer]:
    server = RunPodServer()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def settings(storage_settings: Settings, runpod: RunPodServer) -> Settings:
    reached = {
        "runpod_base_url": f"http://127.0.0.1:{runpod.http.server_port}/v2", "runpod_api_key": SecretStr("key"),
        "runpod_training_endpoint_id": "t", "runpod_image_generation_endpoint_id": "i",
    }  # fmt: skip
    return storage_settings.model_copy(update=reached)


@pytest.fixture
def studio(settings: Settings) -> Iterator[Studio]:
    studio = Studio.connect(settings)
    yield studio
    studio.close()


@pytest.fixture
def lora(storage: Storage, owner: str) -> str:
    """The key of a LoRA of the owner's."""
    keys = LoraKeys(owner, new_run_id("train"))
    record = LoraRecord(
        id=keys.lora_id, owner=owner, name="Zorbot", key=keys.file("zorbot"), sha256="a" * 64, bytes=1,
        base_model="tiny-flux", architecture="flux-tiny", trigger_word="zorbot", created_at=1,
    )  # fmt: skip
    storage.loras.put_message(keys.record, record)
    return record.key


def wish(*axes: dict[str, Any], **changes: Any) -> GridWish:
    return GridWish.model_validate({"base_model": "tiny-flux", "prompt": "a zorbot", "axes": list(axes)} | changes)


def axis(kind: str, text: str = "", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "text": text} | more


def request_of(storage: Storage, record: GridRecord, cell: int) -> GenerationRequest:
    return storage.loras.get_message(RunKeys(record.owner, record.cells[cell].run_id).request, GenerationRequest)


def finish(storage: Storage, record: GridRecord, cell: int, colour: str = "red") -> None:
    """A worker drew a cell."""
    run_id = record.cells[cell].run_id
    keys = ImageKeys.of_run(record.owner, run_id, 0)
    buffer = io.BytesIO()
    Image.new("RGB", (128, 128), colour).save(buffer, "PNG")
    storage.outputs.put(keys.image, buffer.getvalue())
    image = GeneratedImage(key=keys.image, url="https://x", thumb_key=keys.thumb, width=128, height=128, seed=1)
    phases = [{"phase": "generating", "seconds": 4.0}, {"phase": "uploading", "seconds": 1.0}]
    told = GenerationResult.model_validate({"run_id": run_id, "images": [image], "seconds": 5, "phases": phases})
    storage.loras.put_message(RunKeys(record.owner, run_id).result, told)


def test_every_cell_is_a_run_of_its_own_with_the_same_seed(studio: Studio, storage: Storage, owner: str) -> None:
    grid_id = studio.grids.start(owner, wish(axis("steps", "2–4"), axis("prompt", "a cat\na dog"), guidance=3))

    record = studio.grids.open(owner, grid_id).record
    requests = [request_of(storage, record, cell) for cell in range(6)]
    assert [(each.prompt, each.steps) for each in requests] == [
        ("a cat", 2), ("a cat", 3), ("a cat", 4), ("a dog", 2), ("a dog", 3), ("a dog", 4),
    ]  # fmt: skip
    assert len({each.seed for each in requests}) == 1
    assert {(each.guidance, each.count, each.owner) for each in requests} == {(3, 1, owner)}
    assert record.lengths == (3, 2, 1)
    assert [each.labels for each in record.axes] == [["Steps 2", "Steps 3", "Steps 4"], ["a cat", "a dog"]]


def test_the_same_picture_is_drawn_once(studio: Studio, storage: Storage, owner: str, lora: str) -> None:
    asked = wish(axis("lora", keys=[lora]), axis("strength", "0–1 step 0.5"), with_none=True)

    outlook = studio.grids.outlook(owner, asked)
    record = studio.grids.open(owner, studio.grids.start(owner, asked)).record

    assert outlook.plan.axes[0].labels == ["No LoRA", "Zorbot"]
    # Without a LoRA every strength is the same picture, and so is a LoRA without strength.
    assert outlook.plan.places == record.places == [0, 0, 0, 1, 0, 2]
    assert [request_of(storage, record, cell).loras for cell in range(3)] == [cell.loras for cell in record.cells]
    assert [[use.strength for use in cell.loras] for cell in record.cells] == [[], [0.5], [1.0]]


def test_checkpoints_of_a_run_are_compared(studio: Studio, storage: Storage, owner: str) -> None:
    keys = RunKeys(owner, new_run_id("train"))
    spec = studio.base_models["tiny-flux"]
    training = TrainingRequest(
        run_id=keys.run_id, owner=owner, base_model=spec, lora_name="Zorbot", dataset_key=keys.dataset
    )
    kept = [Checkpoint(step=step, key=keys.checkpoint("z", step), sha256="a" * 64, bytes=1) for step in (100, 200)]
    storage.loras.put_message(keys.request, training)
    storage.loras.put_message(
        keys.progress, Progress.model_validate(progress(keys.run_id).model_dump() | {"checkpoints": kept})
    )

    storage.loras.put(kept[0].key, b"x")

    asked = wish(axis("checkpoint", "all", run_id=keys.run_id), with_none=True)
    plan = studio.grids.outlook(owner, asked).plan

    assert plan.axes[0].labels == ["No LoRA", "Step 100", "Step 200"]
    assert (plan.axes[0].run_id, plan.axes[0].steps) == (keys.run_id, [0, 100, 200])
    assert [[use.key for use in cell.loras] for cell in plan.cells] == [[], [kept[0].key], [kept[1].key]]
    grid_id = studio.grids.start(owner, asked)
    assert studio.grids.open(owner, grid_id).promoted == {}
    best = studio.loras.promote(owner, keys.run_id, 100)
    assert studio.grids.open(owner, grid_id).promoted == {100: best.record.id}
    with pytest.raises(InvalidRequest, match="no checkpoint of step 150; it has 100, 200"):
        studio.grids.outlook(owner, wish(axis("checkpoint", "150", run_id=keys.run_id)))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (wish(axis("seed", "1–12"), axis("steps", "1–12")), "12 × 12 are 144 cells; the most is 100"),
        (wish(axis("seed", "1"), axis("seed", "2")), "Two axes vary “Seed”"),
        (wish(axis("strength", "1")), "“Strength” needs a LoRA"),
        (wish(axis("seed", "1"), with_none=True), "A column with no LoRA needs"),
        (wish(axis("lora"), axis("checkpoint")), "can't both vary"),
        (wish(axis("lora", keys=["loras/somebody/x/y.safetensors"])), "The LoRA “y” is not in storage"),
        (wish(axis("seed", "1"), lora_key="loras/somebody/x/y.safetensors"), "is not in storage"),
        (wish(axis("checkpoint")), "choose a run"),
        (wish(axis("checkpoint", run_id="train-0000000000000-00000000")), "There is no run"),
        (wish(axis("seed", "1"), prompt="  "), "Write what you want to see first"),
        (wish(axis("seed", "1"), base_model="flux9"), "There is no base model 'flux9'"),
        (wish(axis("seed", "1"), width=9000), "'width' is 9000; the most is 4,096"),
        (wish(axis("steps", "900")), "“Steps”: 900 is too much; the most is 150"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_before_anything_is_drawn(
    studio: Studio, runpod: RunPodServer, owner: str, asked: GridWish, sentence: str
) -> None:
    for attempt in (studio.grids.outlook, studio.grids.start):
        with pytest.raises((InvalidRequest, NotFound), match=sentence):
            attempt(owner, asked)
    assert runpod.jobs == {}
    assert studio.grids.recent(owner) == []


def test_a_grid_is_right_after_a_restart_and_a_failed_cell_is_drawn_again(
    studio: Studio, settings: Settings, storage: Storage, owner: str, runpod: RunPodServer
) -> None:
    grid_id = studio.grids.start(owner, wish(axis("seed", "1–3")))
    record = studio.grids.open(owner, grid_id).record
    finish(storage, record, 0)
    broken = record.cells[1].run_id
    storage.loras.put_message(
        RunKeys(owner, broken).failure, JobFailure(run_id=broken, attempt=1, kind="engine", message="It broke.")
    )

    again = Studio.connect(settings)
    assert [cell.status for cell in again.grids.open(owner, grid_id).cells] == ["done", "failed", "queued"]
    again.grids.retry(owner, grid_id, broken)
    assert [cell.status for cell in again.grids.open(owner, grid_id).cells] == ["done", "queued", "queued"]
    assert len(runpod.jobs) == 4
    again.grids.cancel(owner, grid_id)
    assert len(runpod.cancelled) == 2
    with pytest.raises(NotFound, match="no such cell"):
        again.grids.retry(owner, grid_id, new_run_id("image"))
    again.close()


def test_a_cell_that_never_became_a_run_is_sent_by_retry(
    studio: Studio, settings: Settings, storage: Storage, owner: str, runpod: RunPodServer
) -> None:
    record = studio.grids.open(owner, studio.grids.start(owner, wish(axis("seed", "1–2")))).record
    storage.loras.delete([RunKeys(owner, record.cells[1].run_id).request])

    again = Studio.connect(settings)
    again.grids.retry(owner, record.id)
    again.close()

    assert request_of(storage, record, 1).seed == 2
    assert len(runpod.jobs) == 3


def test_only_some_cells_are_asked_after_at_a_time(studio: Studio, owner: str, storage: Storage) -> None:
    grid_id = studio.grids.start(owner, wish(axis("seed", "1–20"), axis("steps", "1–3")))
    record = studio.grids.open(owner, grid_id).record
    for cell in range(40):
        finish(storage, record, cell)

    cells = studio.grids.open(owner, grid_id).cells
    assert [cell.status for cell in cells] == ["done"] * 40 + ["queued"] * 20
    assert [bool(cell.run) for cell in cells][-1] is True  # the end is near, so all are asked after


def test_nothing_is_kept_of_a_grid_of_which_nothing_could_be_sent(quiet: Studio, owner: str) -> None:
    with pytest.raises(RunPodError):
        quiet.grids.start(owner, wish(axis("seed", "1–2")))
    assert quiet.grids.recent(owner) == []


@pytest.fixture
def quiet(settings: Settings) -> Iterator[Studio]:
    """A studio whose RunPod is not responding."""
    studio = Studio.connect(settings.model_copy(update={"runpod_base_url": "http://127.0.0.1:9/v2"}))
    yield studio
    studio.close()


def test_the_sheet_shows_what_is_there(studio: Studio, storage: Storage, owner: str) -> None:
    asked = wish(axis("seed", "1–2"), axis("steps", "1–2"), axis("guidance", "1, 2"))
    record = studio.grids.open(owner, studio.grids.start(owner, asked)).record
    finish(storage, record, 0, "red")
    finish(storage, record, 4, "lime")
    finish(storage, record, 5, "blue")
    storage.outputs.delete([ImageKeys.of_run(owner, record.cells[5].run_id, 0).image])

    for number, colour in ((0, (255, 0, 0)), (1, (0, 255, 0))):
        name, data = studio.grids.sheet(owner, record.id, number)
        sheet = Image.open(io.BytesIO(data))
        assert name == f"grid-{record.id[-8:]}-{number + 1}.png"
        assert [count for count, each in sheet.getcolors(2**24) or [] if each == colour] == [256 * 256]
    with pytest.raises(NotFound, match="has 2 sheets"):
        studio.grids.sheet(owner, record.id, 2)


def test_time_and_cost_are_known_from_past_pictures(studio: Studio, storage: Storage, owner: str) -> None:
    first = wish(axis("seed", "1"), steps=4)
    assert studio.grids.outlook(owner, first).seconds is None
    finish(storage, studio.grids.open(owner, studio.grids.start(owner, first)).record, 0)

    # Four steps took four seconds, and one beside them.
    assert studio.grids.outlook(owner, wish(axis("steps", "4, 8"))).seconds == 4 + 1 + 8 + 1


def test_another_owner_finds_nothing_and_a_deleted_grid_keeps_its_pictures(
    studio: Studio, storage: Storage, owner: str
) -> None:
    record = studio.grids.open(owner, studio.grids.start(owner, wish(axis("seed", "1–2")))).record
    finish(storage, record, 0)
    for attempt in (studio.grids.open, studio.grids.cancel, studio.grids.retry, studio.grids.delete):
        with pytest.raises(NotFound):
            attempt("somebody-else", record.id)
    assert studio.grids.recent("somebody-else") == []
    assert [each.id for each in studio.grids.recent(owner)] == [record.id]

    studio.grids.delete(owner, record.id)

    assert studio.grids.recent(owner) == []
    assert not storage.outputs.exists(GridKeys(owner, record.id).record)
    assert storage.outputs.exists(ImageKeys.of_run(owner, record.cells[0].run_id, 0).image)
