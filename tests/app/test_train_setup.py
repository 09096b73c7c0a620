from app.session import LOCAL_OWNER
from app.tabs.choices import learning_rate_choices, learning_rate_value
from app.tabs.train_setup import SetupHandlers
from backend.contract import TrainingRequest
from backend.datasets import SAMPLE_ID
from backend.storage import Storage
from backend.studio import Studio
from tests.app.conftest import BASE_MODEL, Visit


def start(handlers: SetupHandlers, dataset_id: str, **changes: object) -> tuple[object, dict[str, str]]:
    wishes = {
        "lora_name": "Zorbot", "trigger_word": "zorbot", "steps": 20, "rank": 4, "learning_rate": "1e-3",
        "resolution": "128", "batch_size": 1, "save_every": 10, "prior_preservation": False, "seed": 1,
    } | changes  # fmt: skip
    return handlers.start(dataset_id, BASE_MODEL, request=Visit(), **wishes)  # type: ignore[arg-type]


def test_a_training_needs_pictures(quiet_studio: Studio) -> None:
    _, said = start(SetupHandlers(quiet_studio), "")

    assert said["text"] == "There are no pictures to train on yet. Add some, or take the sample pictures."


def test_a_bad_value_is_named_by_its_label(quiet_studio: Studio) -> None:
    handlers = SetupHandlers(quiet_studio)
    quiet_studio.datasets.sample(LOCAL_OWNER)
    for wish, sentence in (
        ({"lora_name": ""}, "The name is empty; give it a name."),
        ({"steps": 0}, "“Steps” is 0; the least is 1."),
        ({"learning_rate": "quick"}, "The learning rate is 'quick'; it must be a number."),
        ({"seed": 1.5}, "The seed is 1.5; it must be a whole number."),
    ):
        assert start(handlers, SAMPLE_ID, **wish)[1]["text"] == sentence


def test_a_run_that_cannot_be_handed_over_says_so_and_is_kept(quiet_studio: Studio, storage: Storage) -> None:
    handlers = SetupHandlers(quiet_studio)
    quiet_studio.datasets.sample(LOCAL_OWNER)

    _, said = start(handlers, SAMPLE_ID, resolution="128, 256", lora_name="Kept")

    assert said["text"]
    run_id = storage.loras.list_folders(f"runs/{LOCAL_OWNER}/train-")[0]
    request = storage.loras.get_message(f"runs/{LOCAL_OWNER}/{run_id}/request.json", TrainingRequest)
    assert (request.lora_name, request.resolution, request.learning_rate) == ("Kept", [128, 256], 1e-3)


def test_the_base_model_brings_its_usual_settings(quiet_studio: Studio) -> None:
    note, steps, rank, *_ = SetupHandlers(quiet_studio).choose_base_model("flux1-dev")

    assert (steps, rank) == (2000, 16)
    assert "accepted on Hugging Face" in note


def test_learning_rates_are_offered_with_the_usual_one_marked() -> None:
    choices = learning_rate_choices(1.6e-2)

    assert choices[-1] == ("1.6e-2 (usual)", "1.6e-2")
    assert ("1e-4", "1e-4") in choices
    assert float(learning_rate_value(4e-3)) == 4e-3
