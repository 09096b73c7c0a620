from pathlib import Path

from app.session import LOCAL_OWNER
from app.tabs.train_dataset import DatasetHandlers
from backend.datasets import SAMPLE_ID
from backend.storage import DatasetKeys, Storage
from backend.studio import Studio
from tests.app.conftest import Visit


def test_the_sample_pictures_come_with_captions_and_a_name(quiet_studio: Studio) -> None:
    grid, zone, dataset_id, name, trigger = DatasetHandlers(quiet_studio).sample(Visit())

    assert len(grid["pictures"]) == 12
    assert all(picture["caption"] for picture in grid["pictures"])
    assert zone["compact"]
    assert (dataset_id, name, trigger) == (SAMPLE_ID, "Zorbot", "zorbot")


def test_what_can_be_taken_is_taken_and_the_rest_named(
    quiet_studio: Studio, sample_pictures: list[Path], tmp_path: Path
) -> None:
    fake, caption = tmp_path / "fake.png", tmp_path / "00.txt"
    fake.write_text("no picture")
    caption.write_text("a <b>caption</b>")

    grid, zone, dataset_id, emptied = DatasetHandlers(quiet_studio).upload(
        [str(sample_pictures[0]), str(fake), str(caption)], "", Visit()
    )

    assert [picture["caption"] for picture in grid["pictures"]] == ["a <b>caption</b>"]
    assert zone["note"] == "1 picture added, 1 not taken."
    assert [refusal["name"] for refusal in zone["refused"]] == ["fake.png"]
    assert emptied is None
    assert DatasetHandlers(quiet_studio).choose(dataset_id, Visit())[0] == grid


def test_nothing_but_bad_files_make_no_dataset(quiet_studio: Studio, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"not a zip")
    before = quiet_studio.datasets.of_owner(LOCAL_OWNER)

    _, zone, *_ = DatasetHandlers(quiet_studio).upload([str(bad)], "", Visit())

    assert "bad.zip" in zone["note"]
    assert quiet_studio.datasets.of_owner(LOCAL_OWNER) == before


def test_a_caption_is_kept_under_its_picture(quiet_studio: Studio) -> None:
    handlers = DatasetHandlers(quiet_studio)
    grid = handlers.sample(Visit())[0]
    sha256 = grid["pictures"][5]["sha256"]

    saved = handlers.save_captions({"dataset_id": SAMPLE_ID, "captions": {sha256: "typed"}}, Visit())

    assert saved == {}
    pictures = handlers.choose(SAMPLE_ID, Visit())[0]["pictures"]
    assert next(picture for picture in pictures if picture["sha256"] == sha256)["caption"] == "typed"


def test_captions_from_a_stranger_are_refused_in_words(quiet_studio: Studio) -> None:
    handlers = DatasetHandlers(quiet_studio)
    elsewhere = Visit(headers={"sec-fetch-site": "cross-site"})
    for payload in (
        None,
        [],
        {},
        {"dataset_id": "../x", "captions": {}},
        {"dataset_id": SAMPLE_ID, "captions": {"x": 1}},
    ):
        assert handlers.save_captions(payload, Visit())["error"].endswith(".")
    assert "another site" in handlers.save_captions({"dataset_id": SAMPLE_ID, "captions": {}}, elsewhere)["error"]


def test_an_unforeseen_error_is_a_sentence_and_a_log_entry(
    quiet_studio: Studio, storage: Storage, caplog: object
) -> None:
    storage.loras.put(DatasetKeys(LOCAL_OWNER, "8204527280935-41f35a41").record, b"not a dataset")

    grid, zone = DatasetHandlers(quiet_studio).choose("8204527280935-41f35a41", Visit())
    storage.loras.delete([DatasetKeys(LOCAL_OWNER, "8204527280935-41f35a41").record])

    assert grid is None
    assert "is not a Dataset" in zone["note"]
