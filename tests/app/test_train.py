from pathlib import Path

from app.session import LOCAL_OWNER
from app.tabs.choices import learning_rate_choices, learning_rate_value
from app.tabs.train_handlers import TrainHandlers
from backend.contract import TrainingRequest
from backend.datasets import SAMPLE_ID
from backend.storage import DatasetKeys, Storage
from backend.studio import Studio
from tests.app.conftest import BASE_MODEL, Visit


def start(handlers: TrainHandlers, dataset_id: str, **changes: object) -> tuple[object, dict[str, str]]:
    wishes = {
        "lora_name": "Zorbot", "trigger_word": "zorbot", "steps": 20, "rank": 4, "learning_rate": "1e-3",
        "resolution": "128", "batch_size": 1, "save_every": 10, "prior_preservation": False, "seed": 1,
    } | changes  # fmt: skip
    return handlers.start(dataset_id, BASE_MODEL, request=Visit(), **wishes)  # type: ignore[arg-type]


def test_the_sample_pictures_come_with_captions_and_a_name(quiet_studio: Studio) -> None:
    grid, zone, dataset_id, name, trigger = TrainHandlers(quiet_studio).sample(Visit())

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

    grid, zone, dataset_id, emptied = TrainHandlers(quiet_studio).upload(
        [str(sample_pictures[0]), str(fake), str(caption)], "", Visit()
    )

    assert [picture["caption"] for picture in grid["pictures"]] == ["a <b>caption</b>"]
    assert zone["note"] == "1 picture added, 1 not taken."
    assert [refusal["name"] for refusal in zone["refused"]] == ["fake.png"]
    assert emptied is None
    assert TrainHandlers(quiet_studio).choose(dataset_id, Visit())[0] == grid


def test_nothing_but_bad_files_make_no_dataset(quiet_studio: Studio, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"not a zip")
    before = quiet_studio.datasets.of_owner(LOCAL_OWNER)

    _, zone, *_ = TrainHandlers(quiet_studio).upload([str(bad)], "", Visit())

    assert "bad.zip" in zone["note"]
    assert quiet_studio.datasets.of_owner(LOCAL_OWNER) == before


def test_a_caption_is_kept_under_its_picture(quiet_studio: Studio) -> None:
    handlers = TrainHandlers(quiet_studio)
    grid = handlers.sample(Visit())[0]
    sha256 = grid["pictures"][5]["sha256"]

    saved = handlers.save_captions({"dataset_id": SAMPLE_ID, "captions": {sha256: "typed"}}, Visit())

    assert saved == {}
    pictures = handlers.choose(SAMPLE_ID, Visit())[0]["pictures"]
    assert next(picture for picture in pictures if picture["sha256"] == sha256)["caption"] == "typed"


def test_captions_from_a_stranger_are_refused_in_words(quiet_studio: Studio) -> None:
    handlers = TrainHandlers(quiet_studio)
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


def test_a_training_needs_pictures(quiet_studio: Studio) -> None:
    _, said = start(TrainHandlers(quiet_studio), "")

    assert said["text"] == "There are no pictures to train on yet. Add some, or take the sample pictures."


def test_a_bad_value_is_named_by_its_label(quiet_studio: Studio) -> None:
    handlers = TrainHandlers(quiet_studio)
    handlers.sample(Visit())
    for wish, sentence in (
        ({"lora_name": ""}, "The name is empty; give it a name."),
        ({"steps": 0}, "“Steps” is 0; the least is 1."),
        ({"learning_rate": "quick"}, "The learning rate is 'quick'; it must be a number."),
        ({"seed": 1.5}, "The seed is 1.5; it must be a whole number."),
    ):
        assert start(handlers, SAMPLE_ID, **wish)[1]["text"] == sentence


def test_a_run_that_cannot_be_handed_over_says_so_and_is_kept(quiet_studio: Studio, storage: Storage) -> None:
    handlers = TrainHandlers(quiet_studio)
    handlers.sample(Visit())

    _, said = start(handlers, SAMPLE_ID, resolution="128, 256", lora_name="Kept")

    assert said["text"]
    run_id = storage.loras.list_folders(f"runs/{LOCAL_OWNER}/train-")[0]
    request = storage.loras.get_message(f"runs/{LOCAL_OWNER}/{run_id}/request.json", TrainingRequest)
    assert (request.lora_name, request.resolution, request.learning_rate) == ("Kept", [128, 256], 1e-3)


def test_the_base_model_brings_its_usual_settings(quiet_studio: Studio) -> None:
    note, steps, rank, *_ = TrainHandlers(quiet_studio).choose_base_model("flux1-dev")

    assert (steps, rank) == (2000, 16)
    assert "accepted on Hugging Face" in note


def test_an_unforeseen_error_is_a_sentence_and_a_log_entry(
    quiet_studio: Studio, storage: Storage, caplog: object
) -> None:
    storage.loras.put(DatasetKeys(LOCAL_OWNER, "8204527280935-41f35a41").record, b"not a dataset")

    grid, zone = TrainHandlers(quiet_studio).choose("8204527280935-41f35a41", Visit())
    storage.loras.delete([DatasetKeys(LOCAL_OWNER, "8204527280935-41f35a41").record])

    assert grid is None
    assert "is not a Dataset" in zone["note"]


def test_learning_rates_are_offered_with_the_usual_one_marked() -> None:
    choices = learning_rate_choices(1.6e-2)

    assert choices[-1] == ("1.6e-2 (usual)", "1.6e-2")
    assert ("1e-4", "1e-4") in choices
    assert float(learning_rate_value(4e-3)) == 4e-3
