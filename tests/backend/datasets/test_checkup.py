"""The check-up: what it finds in a dataset, and what its buttons would do."""

import random

import pytest

from backend.base_models import load_base_models
from backend.contract import Dataset, DatasetImage, new_id
from backend.datasets.checkup import Finding, check_up
from backend.datasets.looks import near_copies

SPEC = load_base_models()["sdxl"]
SHARP = 0.4


def dataset(*changes: dict[str, object], count: int = 12) -> Dataset:
    """Good pictures, the first of which are changed."""
    images = []
    for index in range(max(count, len(changes))):
        sha256 = f"{index:064x}"
        good = {
            "key": f"datasets/me/x/{sha256}.png", "sha256": sha256, "name": f"{index}.png", "width": 1600,
            "height": 1200, "bytes": 1, "caption": f"zorbot, view {index}", "sharpness": SHARP,
            "fingerprint": f"{(2**24 - 1) << (index * 16):064x}"[-64:],
        }  # fmt: skip
        images.append(DatasetImage.model_validate(good | (changes[index] if index < len(changes) else {})))
    return Dataset(id=new_id(), name="Mine", owner="me", created_at=0, images=images)


def found(given: Dataset, trigger_word: str = "zorbot") -> dict[str, Finding]:
    return {finding.title: finding for finding in check_up(given, trigger_word, SPEC)}


def test_a_good_dataset_has_nothing_to_look_at() -> None:
    assert found(dataset()) == {}


def test_only_what_cannot_be_trained_on_blocks() -> None:
    assert [each.level for each in check_up(dataset(count=0), "zorbot", SPEC)] == ["blocks"]
    assert "blocks" not in {each.level for each in check_up(dataset({"caption": "", "width": 70}, count=1), "", SPEC)}


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({"width": 500, "height": 500}, "One picture is small"),
        ({"sharpness": 0.03}, "One picture looks blurred"),
        ({"caption": " "}, "One picture has no caption"),
        ({"caption": "a robot"}, "One caption lacks the trigger word"),
        ({"caption": "zorbot " * 80}, "One caption is too long"),
    ],
)
def test_one_bad_picture_is_found_and_named(change: dict[str, object], title: str) -> None:
    given = dataset(change)
    assert list(found(given)) == [title]
    assert found(given)[title].pictures == [given.images[0].sha256]


def test_a_plain_area_is_not_called_blurred() -> None:
    assert found(dataset({"sharpness": None})) == {}


def test_few_pictures_ask_for_more() -> None:
    assert found(dataset(count=3))["Only 3 pictures"].remedy == "add"


def test_near_copies_are_found_among_many_and_a_negative_is_none() -> None:
    draw = random.Random(3)
    values = [draw.getrandbits(256) for _ in range(300)]
    copies = [values[7] ^ 0xFF, values[7] ^ 0xFF ^ (0xFF << 100)]  # the second is near the first alone
    values += [*copies, values[9] ^ (2**256 - 1), values[200] ^ (0x1FF << 60)]
    groups = near_copies({str(place): f"{value:064x}" for place, value in enumerate(values)} | {"unknown": ""})
    assert groups == [["7", "300", "301"]]


def test_of_near_copies_the_largest_is_left() -> None:
    given = dataset({"fingerprint": "f" * 64}, {"fingerprint": "f" * 63 + "e", "width": 3000})
    assert found(given)["One picture is nearly a copy"].pictures == [given.images[0].sha256]


def test_the_same_sentence_everywhere_is_found() -> None:
    given = dataset(*({"caption": "zorbot"} for _ in range(12)))
    assert list(found(given)) == ["All captions are the same"]


def test_the_trigger_word_is_put_in_front_at_a_press() -> None:
    given = dataset({"caption": "a robot"}, {"caption": "a [trigger] robot"})
    fix = found(given)["One caption lacks the trigger word"]
    assert fix.captions == {given.images[0].sha256: "zorbot, a robot"}
    assert found(given, trigger_word="") == {}


def test_a_long_caption_is_cut_where_the_model_stops_reading() -> None:
    given = dataset({"caption": ", ".join(["zorbot on a hill"] * 30)})
    (fix,) = found(given).values()
    (cut,) = fix.captions.values()
    assert found(dataset({"caption": cut})) == {}
    assert cut.startswith("zorbot on a hill, zorbot")
