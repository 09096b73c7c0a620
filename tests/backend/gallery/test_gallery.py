"""The gallery over real storage: two apps, each with an index of its own."""

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.contract import Dataset, LoraUse, TrainingRequest, new_id, new_run_id
from backend.errors import InvalidRequest, NotFound
from backend.gallery.gallery import MOST_AT_ONCE, Gallery
from backend.gallery.index import Wanted
from backend.gallery.sync import WINDOW_S
from backend.keys import DatasetKeys, ImageKeys, RunKeys, favourite_prefix, removal_prefix
from backend.storage import Storage
from tests.backend.records import record_of, store

LONG_AGO_S = 3 * WINDOW_S


@pytest.fixture
def open_gallery(storage: Storage, tmp_path: Path) -> Iterator[Callable[[str], Gallery]]:
    opened = []

    def open_one(name: str) -> Gallery:
        opened.append(Gallery(storage, tmp_path / f"{name}.db"))
        return opened[-1]

    yield open_one
    for gallery in opened:
        gallery.close()


@pytest.fixture
def gallery(open_gallery: Callable[[str], Gallery]) -> Gallery:
    return open_gallery("one")


def prompts(gallery: Gallery, owner: str, wanted: Wanted = Wanted()) -> list[str]:  # noqa: B008
    return [row.prompt for row in gallery.page(owner, wanted).rows]


def becomes(look: Callable[[], object], wanted: object, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_the_first_page_is_there_at_once_and_then_all(gallery: Gallery, storage: Storage, owner: str) -> None:
    store(storage, *(record_of(owner, f"{age}", age_s=age) for age in range(130)))

    first = gallery.page(owner)
    assert [row.prompt for row in first.rows][:60] == [f"{age}" for age in range(60)]
    becomes(lambda: gallery.page(owner).whole, True)

    first = gallery.page(owner)
    second = gallery.page(owner, after=first.after)
    assert [row.prompt for row in (*first.rows, *second.rows)] == [f"{age}" for age in range(130)]
    assert second.after == ""


def test_what_is_made_up_leaves_nothing_in_storage(gallery: Gallery, storage: Storage, owner: str) -> None:
    real, theirs = record_of(owner, "mine"), record_of(f"{owner}-2", "not mine")
    store(storage, real, theirs)
    made_up = [f"{number:013}-0123abcd-0" for number in range(3)]
    gallery.set_favourite(owner, [real.id, theirs.id, *made_up], True)
    gallery.delete(owner, [theirs.id, *made_up])
    assert [each.key for each in storage.outputs.list_all(favourite_prefix(owner))] == [
        ImageKeys(owner, real.id).favourite
    ]
    assert list(storage.outputs.list_all(removal_prefix(owner))) == []


def test_what_one_app_does_the_other_sees(open_gallery: Callable[[str], Gallery], storage: Storage, owner: str) -> None:
    here, there = open_gallery("here"), open_gallery("there")
    old, young = record_of(owner, "old", age_s=LONG_AGO_S), record_of(owner, "young")
    store(storage, old, young)
    for gallery in (here, there):
        gallery.bring_up_to_date(owner)

    here.set_favourite(owner, [young.id], True)
    here.delete(owner, [old.id])
    new = record_of(owner, "new")
    store(storage, new)

    assert prompts(here, owner, Wanted(favourites=True)) == ["young"]
    becomes(lambda: prompts(there, owner), ["new", "young"])
    becomes(lambda: prompts(there, owner, Wanted(favourites=True)), ["young"])


def test_what_comes_late_or_goes_without_a_word_is_found_in_the_end(
    gallery: Gallery, storage: Storage, owner: str
) -> None:
    kept, gone = record_of(owner, "kept", age_s=LONG_AGO_S), record_of(owner, "gone", age_s=LONG_AGO_S + 9)
    store(storage, kept, gone)
    gallery.bring_up_to_date(owner)

    storage.outputs.delete([ImageKeys(owner, gone.id).record])
    store(storage, record_of(owner, "late", age_s=LONG_AGO_S - 9))
    gallery.bring_up_to_date(owner)

    assert prompts(gallery, owner) == ["late", "kept"]


def test_favourites_survive_the_index(
    open_gallery: Callable[[str], Gallery], storage: Storage, owner: str, tmp_path: Path
) -> None:
    records = [record_of(owner, f"{age}", age_s=age) for age in range(3)]
    store(storage, *records)
    open_gallery("first").set_favourite(owner, [records[1].id], True)

    again = open_gallery("second")

    becomes(lambda: prompts(again, owner, Wanted(favourites=True)), ["1"])
    again.set_favourite(owner, [records[1].id], False)
    assert not again.is_favourite(owner, records[1].id)


def test_a_record_that_cannot_be_read_hides_no_other(gallery: Gallery, storage: Storage, owner: str) -> None:
    good, bad = record_of(owner, "good"), record_of(owner, "bad")
    store(storage, good)
    storage.outputs.put(ImageKeys(owner, bad.id).record, b"{")

    becomes(lambda: prompts(gallery, owner), ["good"])


def test_a_deleted_picture_leaves_nothing_behind(gallery: Gallery, storage: Storage, owner: str) -> None:
    record = record_of(owner)
    store(storage, record)
    gallery.set_favourite(owner, [record.id], True)
    gallery.delete(owner, [record.id])

    left = [f"{kind}/{owner}/" for kind in ("images", "thumbs", "records", "favourites")]
    assert [list(storage.outputs.list_all(prefix)) for prefix in left] == [[], [], [], []]
    with pytest.raises(NotFound):
        gallery.open(owner, record.id)


def test_an_archive_holds_every_picture_that_is_there(gallery: Gallery, storage: Storage, owner: str) -> None:
    first, second = record_of(owner, "a/b: <c>"), record_of(owner, "a/b: <c>")
    store(storage, first, second)
    gone, theirs = record_of(owner), record_of("somebody-else", "theirs")
    store(storage, theirs)

    data = b"".join(gallery.archive(owner, [first.id, gone.id, second.id, theirs.id]))

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"a-b-c-{each.id[-10:]}.png" for each in (first, second)]


def test_too_many_at_once_is_refused(gallery: Gallery, owner: str) -> None:
    with pytest.raises(InvalidRequest, match="5,001 pictures are too many"):
        gallery.delete(owner, ["9" * 13 + "-00000000-0"] * (MOST_AT_ONCE + 1))


class TestLineage:
    @pytest.fixture
    def run(self, storage: Storage, owner: str) -> RunKeys:
        keys = RunKeys(owner, new_run_id("train"))
        request = TrainingRequest(run_id=keys.run_id, owner=owner, lora_name="Zor Bot", dataset_key=keys.dataset)
        storage.loras.put_message(keys.request, request)
        dataset = Dataset(id=new_id(), name="Robots", owner=owner, created_at=1, images=[])
        storage.loras.put_message(keys.dataset, dataset)
        storage.loras.put_message(DatasetKeys(owner, dataset.id).record, dataset)
        return keys

    def test_a_checkpoint_leads_to_its_run_and_dataset(self, gallery: Gallery, storage: Storage, run: RunKeys) -> None:
        key = run.checkpoint("Zor-Bot", 250)
        storage.loras.put(key, b"weights")

        (origin,) = gallery.origins(record_of(run.owner, loras=[LoraUse(key=key, strength=0.5)]))

        assert (origin.name, origin.step, origin.strength, origin.there) == ("Zor Bot", 250, 0.5, True)
        assert (origin.run_id, origin.run_there) == (run.run_id, True)
        assert (origin.dataset_name, origin.dataset_there) == ("Robots", True)

    def test_what_is_gone_is_said(self, gallery: Gallery, storage: Storage, run: RunKeys) -> None:
        key = f"loras/{run.owner}/{run.run_id}/Zor-Bot.safetensors"
        dataset = storage.loras.get_message(run.dataset, Dataset)
        storage.loras.delete([DatasetKeys(run.owner, dataset.id).record])

        (origin,) = gallery.origins(record_of(run.owner, loras=[LoraUse(key=key)]))
        storage.loras.delete([run.request])
        (orphan,) = gallery.origins(record_of(run.owner, loras=[LoraUse(key=key)]))

        assert (origin.there, origin.run_there, origin.name, origin.dataset_there) == (False, True, "Zor Bot", False)
        assert (orphan.run_there, orphan.name) == (False, "Zor-Bot")
