"""Datasets in real storage: what is taken in, merged, refused, captioned and deleted."""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from backend.contract import Dataset, new_run_id
from backend.datasets.datasets import SAMPLE_ID, Datasets, Intake
from backend.datasets.intake import Upload
from backend.errors import InvalidRequest, NotFound
from backend.keys import DatasetKeys, RunKeys
from backend.pictures import Limits
from backend.storage import Storage

LIMITS = Limits(images=20, file_bytes=2**20, total_bytes=2**24, pixels=10**6)


@pytest.fixture
def datasets(storage: Storage) -> Datasets:
    return Datasets(storage, LIMITS)


def add(datasets: Datasets, dataset: Dataset, *paths: Path) -> list[Intake]:
    return [datasets.add(dataset.owner, dataset.id, Upload(path.name, path)) for path in paths]


def captions(datasets: Datasets, dataset: Dataset) -> list[str]:
    return [image.caption for image in datasets.get(dataset.owner, dataset.id).images]


def test_the_sample_dataset_is_made_once_with_its_captions(datasets: Datasets, owner: str) -> None:
    made, again = datasets.sample(owner), datasets.sample(owner)
    assert [image.caption for image in made.images] == [image.caption for image in again.images]
    assert len(made.images) == 12
    assert made.images[0].caption == "a zorbot"
    assert [dataset.id for dataset in datasets.of_owner(owner)] == [SAMPLE_ID]


def test_captions_follow_the_content_whatever_came_first(
    datasets: Datasets, owner: str, sample_pictures: list[Path], tmp_path: Path
) -> None:
    dataset = datasets.create(owner, "Mine")
    before, after = (tmp_path / f"{path.stem}.txt" for path in sample_pictures[:2])
    before.write_text("came before")
    after.write_text("came after")
    add(datasets, dataset, before, *sample_pictures[:3])
    assert captions(datasets, dataset) == ["came before", "", ""]
    add(datasets, dataset, after)
    assert captions(datasets, dataset) == ["came before", "came after", ""]
    third = datasets.get(owner, dataset.id).images[2]
    datasets.set_captions(owner, dataset.id, {third.sha256: "another\nrobot"})
    assert captions(datasets, dataset)[2] == "another robot"


def test_what_somebody_typed_is_not_replaced_by_a_file(
    datasets: Datasets, owner: str, sample_pictures: list[Path], tmp_path: Path
) -> None:
    dataset = datasets.create(owner, "Mine")
    add(datasets, dataset, sample_pictures[0])
    datasets.set_captions(owner, dataset.id, {datasets.get(owner, dataset.id).images[0].sha256: "typed"})
    caption = tmp_path / f"{sample_pictures[0].stem}.txt"
    caption.write_text("from a file")

    add(datasets, dataset, caption)

    assert captions(datasets, dataset) == ["typed"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("all.jsonl", '{"file_name": "00.png", "text": "zero"}\n\n{"file_name": "deep/01", "text": "one"}\n'),
        ("all.csv", "file_name,text\n00.png,zero\n01.png,one\n"),
        ("all.csv", "00.png;zero\r\n01.png;one\r\n"),
        ("all.csv", "\ufeffCaption\tFile\nzero\t00.png\none\t01.png\n"),
    ],
)
def test_one_file_brings_all_captions(
    datasets: Datasets, owner: str, sample_pictures: list[Path], tmp_path: Path, name: str, content: str
) -> None:
    dataset = datasets.create(owner, "Mine")
    listing = tmp_path / name
    listing.write_text(content, encoding="utf-8")

    taken = add(datasets, dataset, listing, *sample_pictures[:2])

    assert (taken[0].captions, captions(datasets, dataset)) == (2, ["zero", "one"])


def test_a_list_of_captions_that_is_none_is_refused_by_its_line(datasets: Datasets, owner: str, tmp_path: Path) -> None:
    dataset = datasets.create(owner, "Mine")
    bad, nameless = tmp_path / "bad.jsonl", tmp_path / "nameless.csv"
    bad.write_text('{"file_name": "a", "text": "b"}\nnonsense')
    nameless.write_text("file_name,words\na,b")

    reasons = [intake.refused[0].reason for intake in add(datasets, dataset, bad, nameless)]

    assert "bad.jsonl is not JSON in line 2." in reasons[0]
    assert "doesn't say picture and caption in entry 1." in reasons[1]


def test_many_at_once_lose_nothing(storage: Storage, owner: str, tmp_path: Path) -> None:
    """Two apps on one storage, each taking several files at a time while the dataset is read and captioned."""
    apps = [Datasets(storage, LIMITS._replace(images=200)) for _ in range(2)]
    dataset = apps[0].create(owner, "Mine")
    names = [f"{number}.png" for number in range(70)]
    for number, name in enumerate(names):
        Image.new("RGB", (64, 64), (number, 255 - number, 90)).save(tmp_path / name)

    def send(number: int) -> None:
        app = apps[number % 2]
        app.add(owner, dataset.id, Upload(names[number], tmp_path / names[number]))
        if number % 7 == 0:
            first = app.get(owner, dataset.id).images[0]
            app.set_captions(owner, dataset.id, {first.sha256: f"caption {number}"})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, range(70)))

    images = apps[0].get(owner, dataset.id).images
    assert sorted(image.name for image in images) == sorted(names)
    assert any(image.caption for image in images)
    assert list(storage.loras.list_all(DatasetKeys(owner, dataset.id).arrivals)) == []


def test_pictures_that_come_together_are_in_the_order_of_their_names(
    datasets: Datasets, owner: str, sample_pictures: list[Path]
) -> None:
    dataset = datasets.create(owner, "Mine")
    for name, path in zip(("10.png", "9.png", "b.png"), sample_pictures, strict=False):
        datasets.add(owner, dataset.id, Upload(name, path))
    assert [image.name for image in datasets.get(owner, dataset.id).images] == ["9.png", "10.png", "b.png"]


def test_copies_are_merged_and_bad_files_refused_by_name(
    datasets: Datasets, owner: str, sample_pictures: list[Path], tmp_path: Path
) -> None:
    bad, odd = tmp_path / "bad.png", tmp_path / "notes.pdf"
    bad.write_bytes(b"text")
    odd.write_bytes(b"%PDF")
    dataset = datasets.create(owner, "Mine")
    taken = add(datasets, dataset, sample_pictures[0], bad, sample_pictures[0], odd)
    assert [(intake.added, intake.merged) for intake in taken] == [(1, 0), (0, 0), (0, 1), (0, 0)]
    assert [refusal.name for intake in taken for refusal in intake.refused] == ["bad.png", "notes.pdf"]
    assert len(datasets.get(owner, dataset.id).images) == 1


def test_a_picture_that_was_removed_is_taken_again_at_once(
    storage: Storage, owner: str, sample_pictures: list[Path]
) -> None:
    here, elsewhere = Datasets(storage, LIMITS), Datasets(storage, LIMITS)
    dataset = here.create(owner, "Mine")
    path = sample_pictures[0]
    assert [add(each, dataset, path)[0].added for each in (here, elsewhere)] == [1, 0]
    for remover in (here, elsewhere):
        remover.remove(owner, dataset.id, {here.get(owner, dataset.id).images[0].sha256})
        # What the other knows is a moment old.
        assert add(here, dataset, path)[0] == Intake(1, 0, 0, [])
    here.delete(owner, dataset.id)
    with pytest.raises(NotFound):
        add(here, dataset, path)


def test_an_archive_and_loose_files_make_one_dataset(
    datasets: Datasets, owner: str, sample_pictures: list[Path], tmp_path: Path
) -> None:
    packed = tmp_path / "more.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(sample_pictures[1], "deep/er/one.png")
        archive.writestr("deep/er/one.txt", "a caption in a folder")
        archive.writestr("__MACOSX/deep/er/._one.png", "litter")
        archive.writestr("metadata.jsonl", '{"file_name": "00.png", "text": "from a list"}')
    dataset = datasets.create(owner, "Mine")
    add(datasets, dataset, sample_pictures[0], packed)
    assert captions(datasets, dataset) == ["from a list", "a caption in a folder"]


def test_what_is_no_archive_is_refused_by_name(datasets: Datasets, owner: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"text")
    (taken,) = add(datasets, datasets.create(owner, "Mine"), bad)
    assert taken.refused[0].reason.startswith("bad.zip is not a ZIP archive")


def test_more_pictures_than_the_limit_are_refused_and_the_rest_kept(
    storage: Storage, owner: str, sample_pictures: list[Path]
) -> None:
    small = Datasets(storage, LIMITS._replace(images=2))
    taken = add(small, small.create(owner, "Mine"), *sample_pictures[:3])
    assert sum(intake.added for intake in taken) == 2
    assert taken[2].refused[0].reason == "a dataset takes 2 pictures"


def test_a_name_that_cannot_be_is_refused(datasets: Datasets, owner: str) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        datasets.create(owner, " ")
    with pytest.raises(InvalidRequest, match="leave that character out"):
        datasets.rename(owner, datasets.create(owner, "Mine").id, "a/b")


def test_a_dataset_is_renamed_and_duplicated(datasets: Datasets, storage: Storage, owner: str) -> None:
    original = datasets.sample(owner)
    datasets.rename(owner, original.id, "Robots")
    copy = datasets.duplicate(owner, original.id)
    datasets.delete(owner, original.id)

    found = datasets.get(owner, copy.id)
    assert found.name == "Robots (copy)"
    assert [image.caption for image in found.images] == [image.caption for image in original.images]
    for image in found.images:
        assert storage.loras.get(image.key)[:4] == b"\x89PNG"
        assert storage.loras.exists(DatasetKeys(owner, copy.id).thumb(image.sha256))


def test_pictures_are_taken_out_with_their_captions(datasets: Datasets, storage: Storage, owner: str) -> None:
    first, second, *_ = datasets.sample(owner).images
    datasets.remove(owner, SAMPLE_ID, {first.sha256, second.sha256})
    left = datasets.get(owner, SAMPLE_ID).images
    assert len(left) == 10
    assert first.sha256 not in {image.sha256 for image in left}
    assert not storage.loras.exists(first.key)


def test_a_run_keeps_the_pictures_it_used(datasets: Datasets, storage: Storage, owner: str) -> None:
    dataset = datasets.sample(owner)
    used = dataset.model_copy(update={"images": dataset.images[:3]})
    storage.loras.put_message(RunKeys(owner, new_run_id("train")).dataset, used)

    assert datasets.removal(owner, dataset.id)[0::2] == (12, 1)
    datasets.remove(owner, dataset.id, {dataset.images[0].sha256, dataset.images[5].sha256})
    datasets.delete(owner, dataset.id)

    assert [storage.loras.exists(image.key) for image in dataset.images] == [True] * 3 + [False] * 9
    assert datasets.of_owner(owner) == []


def test_a_caption_for_a_picture_that_is_not_there_is_refused(datasets: Datasets, owner: str) -> None:
    with pytest.raises(NotFound):
        datasets.set_captions(owner, datasets.sample(owner).id, {"0" * 64: "hello"})


def test_deleting_leaves_nothing(datasets: Datasets, storage: Storage, owner: str) -> None:
    dataset = datasets.sample(owner)
    datasets.delete(owner, dataset.id)
    assert list(storage.loras.list_all(DatasetKeys(owner, dataset.id).prefix)) == []
    assert datasets.of_owner(owner) == []


def test_somebody_elses_dataset_is_not_found(datasets: Datasets, owner: str) -> None:
    dataset = datasets.create(owner, "Mine")
    with pytest.raises(NotFound):
        datasets.get("somebody-else", dataset.id)
