"""Datasets in real storage: what is taken in, merged, refused, captioned and deleted."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.datasets import SAMPLE_ID, Datasets, Upload
from backend.errors import DatasetRejected, InvalidRequest, NotFound
from backend.pictures import Limits
from backend.storage import DatasetKeys, Storage

LIMITS = Limits(images=20, file_bytes=2**20, total_bytes=2**24, pixels=10**6)


@pytest.fixture
def datasets(storage: Storage) -> Datasets:
    return Datasets(storage, LIMITS)


def uploads(*paths: Path) -> list[Upload]:
    return [Upload(path.name, path) for path in paths]


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
    caption = tmp_path / f"{sample_pictures[0].stem}.txt"
    caption.write_text("my robot")
    intake = datasets.add(owner, dataset.id, uploads(caption, *sample_pictures[:2]))
    assert [image.caption for image in intake.dataset.images] == ["my robot", ""]
    second = intake.dataset.images[1]
    datasets.set_captions(owner, dataset.id, {second.sha256: "another\nrobot"})
    assert [image.caption for image in datasets.get(owner, dataset.id).images] == ["my robot", "another robot"]


def test_a_caption_typed_while_files_are_taken_in_is_kept(
    datasets: Datasets, owner: str, sample_pictures: list[Path]
) -> None:
    dataset = datasets.add(owner, datasets.create(owner, "Mine").id, uploads(sample_pictures[0])).dataset

    def sent_slowly() -> Iterator[Upload]:
        yield from uploads(sample_pictures[1])
        datasets.set_captions(owner, dataset.id, {dataset.images[0].sha256: "typed meanwhile"})

    datasets.add(owner, dataset.id, sent_slowly())

    assert [image.caption for image in datasets.get(owner, dataset.id).images] == ["typed meanwhile", ""]


def test_a_set_of_bad_files_makes_no_dataset(datasets: Datasets, owner: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    with pytest.raises(DatasetRejected, match=r"bad\.png"):
        datasets.create_from(owner, "Mine", uploads(bad))
    with pytest.raises(InvalidRequest, match="empty"):
        datasets.create_from(owner, " ", [])
    assert datasets.of_owner(owner) == []


def test_copies_are_merged_and_bad_files_refused_by_name(
    datasets: Datasets, owner: str, sample_pictures: list[Path], tmp_path: Path
) -> None:
    bad, odd = tmp_path / "bad.png", tmp_path / "notes.pdf"
    bad.write_bytes(b"text")
    odd.write_bytes(b"%PDF")
    dataset = datasets.create(owner, "Mine")
    intake = datasets.add(owner, dataset.id, uploads(sample_pictures[0], bad, sample_pictures[0], odd))
    assert (intake.added, intake.merged) == (1, 1)
    assert [refusal.name for refusal in intake.refused] == ["bad.png", "notes.pdf"]


def test_an_archive_and_loose_files_make_one_dataset(
    datasets: Datasets, owner: str, sample_pictures: list[Path], tmp_path: Path
) -> None:
    packed = tmp_path / "more.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(sample_pictures[1], "deep/er/one.png")
        archive.writestr("deep/er/one.txt", "a caption in a folder")
    dataset = datasets.create(owner, "Mine")
    intake = datasets.add(owner, dataset.id, uploads(sample_pictures[0], packed))
    assert [image.caption for image in intake.dataset.images] == ["", "a caption in a folder"]


def test_nothing_usable_is_an_error_that_says_why(datasets: Datasets, owner: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"text")
    dataset = datasets.create(owner, "Mine")
    with pytest.raises(DatasetRejected, match=r"No picture could be taken. bad\.png: .* not a picture"):
        datasets.add(owner, dataset.id, uploads(bad))
    assert datasets.get(owner, dataset.id).images == []


def test_more_pictures_than_the_limit_are_refused_and_the_rest_kept(
    storage: Storage, owner: str, sample_pictures: list[Path]
) -> None:
    small = Datasets(storage, LIMITS._replace(images=2))
    intake = small.add(owner, small.create(owner, "Mine").id, uploads(*sample_pictures[:3]))
    assert intake.added == 2
    assert intake.refused[0].reason == "a dataset takes 2 pictures"


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
