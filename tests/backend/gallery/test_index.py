from pathlib import Path

import pytest

from backend.gallery.index import GalleryIndex, Wanted
from tests.backend.records import record_of, uses

LORA = "loras/ada/train-1/zorbot.safetensors"


@pytest.fixture
def index(tmp_path: Path) -> GalleryIndex:
    return GalleryIndex(tmp_path / "cache" / "gallery.db")


def prompts(index: GalleryIndex, owner: str = "ada", after: str = "", limit: int = 50, **wanted: object) -> list[str]:
    return [row.prompt for row in index.page(owner, Wanted(**wanted), after, limit)]  # type: ignore[arg-type]


def test_pictures_come_newest_first_a_page_at_a_time(index: GalleryIndex) -> None:
    index.add(record_of("ada", f"number {age}", age_s=age) for age in (3, 1, 2, 4))

    first = index.page("ada", Wanted(), "", 3)
    rest = index.page("ada", Wanted(), first[-1].image_id, 3)

    assert [row.prompt for row in (*first, *rest)] == ["number 1", "number 2", "number 3", "number 4"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("zorbot", ["A Zorbot, café at night", "zorbots on the moon"]),
        ("ZORB moon", ["zorbots on the moon"]),
        ("cafe", ["A Zorbot, café at night"]),
        ("apple", []),
        ('" OR 1 NEAR(x) * -', []),
        ("!?", ["A Zorbot, café at night", "zorbots on the moon", "a teapot"]),
    ],
)
def test_words_are_found_in_prompts(index: GalleryIndex, words: str, found: list[str]) -> None:
    said = ("A Zorbot, café at night", "zorbots on the moon", "a teapot")
    index.add(record_of("ada", prompt, age_s=age) for age, prompt in enumerate(said))

    assert prompts(index, words=words) == found
    assert index.count("ada", Wanted(words=words)) == len(found)


def test_filters_add_up(index: GalleryIndex) -> None:
    tall, wide, even = (
        record_of("ada", "tall", width=64, height=128, loras=uses(LORA), age_s=1),
        record_of("ada", "wide", width=128, height=64, base_model="sdxl", age_s=100),
        record_of("ada", "even", width=64, height=64, loras=uses(LORA), age_s=200),
    )
    index.add([tall, wide, even])
    index.mark("ada", [even.id], True)

    assert prompts(index, shape="portrait") == ["tall"]
    assert prompts(index, shape="landscape") == ["wide"]
    assert prompts(index, shape="square", favourites=True, lora=LORA) == ["even"]
    assert prompts(index, lora=LORA) == ["tall", "even"]
    assert prompts(index, base_model="sdxl") == ["wide"]
    assert prompts(index, since=tall.created_at - 150, until=tall.created_at - 50) == ["wide"]
    assert prompts(index, favourites=True, shape="portrait") == []


def test_nobody_sees_or_changes_what_is_anothers(index: GalleryIndex) -> None:
    mine, theirs = record_of("ada", "mine", loras=uses(LORA)), record_of("bob", "theirs", loras=uses("loras/bob/x/y"))
    index.add([mine, theirs])

    index.remove("ada", [theirs.id])
    index.mark("ada", [theirs.id], True)
    index.set_favourites("ada", {theirs.id})

    assert prompts(index) == ["mine"]
    assert index.page("bob", Wanted(favourites=True), "", 9) == []
    assert prompts(index, "bob", lora=LORA) == []
    assert index.tally("bob").loras == [("loras/bob/x/y", 1)]
    assert index.tally("ada").pictures == 1
    assert index.ids("ada") == {mine.id}


def test_what_is_taken_out_is_found_by_nothing(index: GalleryIndex) -> None:
    record = record_of("ada", loras=uses(LORA))
    index.add([record, record])
    index.remove("ada", [record.id])

    assert prompts(index) == prompts(index, words="zorbot") == prompts(index, lora=LORA) == []
    assert index.tally("ada") == (0, [], [])


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, None])
def test_an_index_that_was_deleted_or_damaged_is_empty_and_works(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "gallery.db"
    index = GalleryIndex(path)
    index.add([record_of("ada")])
    index.set_whole("ada")
    path.unlink() if damage is None else path.write_bytes(damage)

    assert (prompts(index), index.is_whole("ada")) == ([], False)
    index.add([record_of("ada", "again")])
    assert prompts(index, words="again") == ["again"]
