"""LoRAs on the real S3 server: nothing that a person says of one is lost, and two apps agree."""

from pathlib import Path

import numpy
import pytest
from PIL import Image
from safetensors.numpy import save_file

from backend.base_models import load_base_model
from backend.contract import Checkpoint, Dataset, LoraRecord, Progress, Sample, TrainingRequest, new_id, new_run_id
from backend.errors import InvalidRequest, LoraRejected, NotFound
from backend.keys import ImageKeys, LoraKeys, RunKeys
from backend.loras.loras import Loras
from backend.pictures import thumbnail_of
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio

BASE_MODEL = "tiny-flux"


def loras_of(settings: Settings) -> Loras:
    """A studio's, on its own: what another replica knows it doesn't."""
    unreachable = {"runpod_base_url": "http://127.0.0.1:9/v2", "runpod_training_endpoint_id": "training"}
    return Studio.connect(settings.model_copy(update=unreachable)).loras


@pytest.fixture
def loras(storage_settings: Settings) -> Loras:
    return loras_of(storage_settings)


@pytest.fixture
def replica(storage_settings: Settings) -> Loras:
    return loras_of(storage_settings)


def picture(colour: str = "red") -> bytes:
    return thumbnail_of(Image.new("RGB", (64, 64), colour))


def train(storage: Storage, owner: str, *, finished: bool = True) -> RunKeys:
    """What a training has left: checkpoints of steps 10 and 20, and the LoRA if it finished."""
    keys = RunKeys(owner, new_run_id("train"))
    spec, bucket = load_base_model(BASE_MODEL), storage.loras
    request = TrainingRequest(
        run_id=keys.run_id, owner=owner, base_model=spec, lora_name="Zorbot", dataset_key=keys.dataset,
        trigger_word="zorbot",
    )  # fmt: skip
    bucket.put_message(keys.request, request)
    bucket.put_message(keys.dataset, Dataset(id=new_id(), name="My robots", owner=owner, created_at=1, images=[]))
    checkpoints, samples = [], []
    for step in (10, 20):
        key = keys.checkpoint("Zorbot", step)
        bucket.put(key, b"weights of %d" % step, metadata={"sha256": f"{step}" * 32})
        checkpoints.append(Checkpoint(step=step, key=key, sha256=f"{step}" * 32, bytes=13))
        samples.append(Sample(step=step, prompt="a zorbot", key=keys.sample(step, 0)))
        bucket.put(keys.sample(step, 0), picture())
    bucket.put_message(
        keys.progress,
        Progress(run_id=keys.run_id, attempt=1, seq=1, updated_at=1, phase="training", phases=[],
                 checkpoints=checkpoints, samples=samples),
    )  # fmt: skip
    if finished:
        lora = LoraKeys(owner, keys.run_id)
        bucket.put(lora.file("Zorbot"), b"weights of 20")
        bucket.put_message(
            lora.record,
            LoraRecord(id=keys.run_id, owner=owner, name="Zorbot", key=lora.file("Zorbot"), sha256="b" * 64, bytes=13,
                       base_model=BASE_MODEL, architecture="flux-tiny", run_id=keys.run_id, created_at=5),
        )  # fmt: skip
    return keys


def lora_file(path: Path, hidden: int = 256, value: float = 0.0) -> Path:
    layer = "transformer.single_transformer_blocks.0.attn.to_q"
    down, up = numpy.full((4, hidden), value, "float32"), numpy.full((hidden, 4), value, "float32")
    save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, path, {"trigger_word": "b0t"})
    return path


def test_a_lora_knows_its_run_and_its_dataset(storage: Storage, loras: Loras, owner: str) -> None:
    run = train(storage, owner)
    (lora,) = loras.of_owner(owner)
    assert (lora.name, lora.record.run_id) == ("Zorbot", run.run_id)
    assert lora.dataset
    assert lora.dataset.name == "My robots"


def test_what_a_person_says_is_seen_by_another_replica_at_once(
    storage: Storage, loras: Loras, replica: Loras, owner: str
) -> None:
    lora_id = train(storage, owner).run_id
    assert replica.of_owner(owner)[0].name == "Zorbot"
    loras.describe(owner, lora_id, name="Robo", note=" likes 0.8 ", tags=["toy", " toy", "", "blue  one"])

    lora = replica.of_owner(owner)[0]
    assert (lora.name, lora.label.note, lora.label.tags) == ("Robo", "likes 0.8", ["toy", "blue one"])
    assert lora.record.key.endswith("/Zorbot.safetensors")
    assert replica.choices(owner)[-1].name == "Robo"

    loras.delete(owner, lora_id)
    assert replica.of_owner(owner) == []
    with pytest.raises(NotFound, match="no longer exists"):
        replica.describe(owner, lora_id, name="x", note="", tags=[])


@pytest.mark.parametrize(
    ("name", "tags"), [("a/b", []), ("", []), ("x", ["t" * 41]), ("x", [f"t{i}" for i in range(21)])]
)
def test_what_cannot_be_said_changes_nothing(
    storage: Storage, loras: Loras, owner: str, name: str, tags: list[str]
) -> None:
    lora_id = train(storage, owner).run_id
    with pytest.raises(InvalidRequest):
        loras.describe(owner, lora_id, name=name, note="", tags=tags)
    assert loras.get(owner, lora_id).name == "Zorbot"


def test_a_listing_reads_only_what_is_new(storage: Storage, loras: Loras, owner: str) -> None:
    lora_id = train(storage, owner).run_id
    read: list[str] = []
    storage.loras._client.meta.events.register("before-call.s3.GetObject", lambda **_: read.append("get"))
    shelf = Loras(storage, loras._runs, {}, loras._limits, 1)
    shelf.of_owner(owner)
    first = len(read)
    shelf.of_owner(owner)
    assert (first, len(read)) == (2, 2)  # record and dataset, once
    loras.describe(owner, lora_id, name="New", note="", tags=[])
    assert shelf.of_owner(owner)[0].name == "New"
    assert len(read) == 3


def test_a_checkpoint_is_promoted_once_and_outlives_the_lora(storage: Storage, loras: Loras, owner: str) -> None:
    run = train(storage, owner)
    promoted = loras.promote(owner, run.run_id, 10)
    assert loras.promote(owner, run.run_id, 10).record == promoted.record
    assert (promoted.name, promoted.record.steps) == ("Zorbot step 10", 10)
    assert storage.loras.get(promoted.record.key) == b"weights of 10"
    assert storage.loras.head(promoted.record.key).sha256 == "10" * 32
    assert promoted.thumb_key
    assert storage.loras.exists(promoted.thumb_key)

    assert loras.removal(owner, run.run_id).checkpoints == 2
    loras.delete(owner, run.run_id)
    assert [lora.name for lora in loras.of_owner(owner)] == ["Zorbot step 10"]
    assert storage.loras.exists(run.checkpoint("Zorbot", 20))


def test_checkpoints_without_a_lora_can_be_chosen_until_they_are_promoted(
    storage: Storage, loras: Loras, owner: str
) -> None:
    run = train(storage, owner, finished=False)
    assert [choice.detail for choice in loras.choices(owner)] == ["step 20", "step 10"]
    assert [making.name for making in loras.without_lora(owner, [])] == ["Zorbot"]
    loras.promote(owner, run.run_id, 20)
    assert [(choice.name, choice.detail) for choice in loras.choices(owner)] == [
        ("Zorbot", "step 10"), ("Zorbot step 20", ""),
    ]  # fmt: skip


def test_a_checkpoint_of_a_training_that_is_done_can_be_chosen_by_its_key(
    storage: Storage, loras: Loras, owner: str
) -> None:
    run = train(storage, owner)
    assert [choice.detail for choice in loras.choices(owner)] == [""]
    named = loras.choices(owner, [run.checkpoint("Zorbot", 10), "runs/somebody-else/checkpoint"])
    assert [(choice.name, choice.detail) for choice in named] == [("Zorbot", "step 10"), ("Zorbot", "")]
    loras.promote(owner, run.run_id, 10)
    assert loras.choices(owner, [run.checkpoint("Zorbot", 10)])[0].detail == "step 10"


def test_an_unknown_checkpoint_is_not_promoted(storage: Storage, loras: Loras, owner: str) -> None:
    run = train(storage, owner)
    with pytest.raises(NotFound, match="no checkpoint of step 11"):
        loras.promote(owner, run.run_id, 11)
    with pytest.raises(NotFound):
        loras.promote("somebody-else", run.run_id, 10)


def test_a_thumbnail_outlives_the_picture_it_came_from(storage: Storage, loras: Loras, owner: str) -> None:
    run, keys = train(storage, owner), ImageKeys(owner, f"{new_id()}-0")
    storage.outputs.put(keys.thumb, picture("blue"))
    first = loras.show_picture(owner, run.run_id, keys.image_id).thumb_key
    storage.outputs.delete([keys.thumb])
    assert first
    assert storage.loras.get(first) == picture("blue")

    second = loras.show_sample(owner, run.run_id, run.sample(20, 0)).thumb_key
    assert second not in (None, first)
    assert not storage.loras.exists(first)
    with pytest.raises(NotFound, match="no longer exists"):
        loras.show_picture(owner, run.run_id, keys.image_id)


def test_another_runs_sample_is_no_thumbnail(storage: Storage, loras: Loras, owner: str) -> None:
    run, other = train(storage, owner), train(storage, "owner-other")
    for key in (other.sample(20, 0), run.request, "../x"):
        with pytest.raises(NotFound, match="no such sample"):
            loras.show_sample(owner, run.run_id, key)


def test_an_imported_file_is_kept_once_and_can_be_prompted_with(
    storage: Storage, loras: Loras, owner: str, tmp_path: Path
) -> None:
    path = lora_file(tmp_path / "file")
    lora, new = loras.take_in(owner, path, "folder/Böt 1.safetensors")
    assert new
    assert (lora.name, lora.record.trigger_word, lora.record.rank) == ("Böt 1", "b0t", 4)
    assert lora.record.key.startswith(f"loras/{owner}/import-")
    assert storage.loras.get(lora.record.key) == path.read_bytes()
    assert [choice.key for choice in loras.choices(owner)] == [lora.record.key]

    again, new = loras.take_in(owner, path, "another name.safetensors")
    assert (again.record, new) == (lora.record, False)

    loras.delete(owner, lora.record.id)
    assert list(storage.loras.list_all(f"loras/{owner}/")) == []


def test_a_file_for_another_base_model_is_not_kept(storage: Storage, loras: Loras, owner: str, tmp_path: Path) -> None:
    with pytest.raises(LoraRejected, match="'x' was made for a base model that this studio doesn't know"):
        loras.take_in(owner, lora_file(tmp_path / "file", hidden=99), "x.safetensors")
    assert list(storage.loras.list_all(f"loras/{owner}/")) == []
