"""The set-up side of the Train tab: what is recommended, what it will take, and what a press of Start does."""

from typing import Any

import gradio as gr
import pytest
import yaml

from app.session import LOCAL_OWNER
from app.tabs.choices import learning_rate_choices, learning_rate_value, resolution_choices
from app.tabs.train_plan import SetupHandlers
from app.tabs.train_preview import RECOMMENDED, SETTINGS, PreviewHandlers, wishes_of
from app.wording import length_of_time
from backend.datasets.datasets import SAMPLE_ID
from backend.storage import Storage
from backend.studio import Studio
from tests.app.conftest import BASE_MODEL, Past, Visit

FORM = {
    "steps": 20, "rank": 4, "learning_rate": "1e-3", "resolution": [128], "batch_size": 1, "alpha": 0, "save_every": 10,
    "caption_dropout": 0, "prior_preservation": False, "seed": 1, "sample_prompts": "a [trigger]\n\n a cat ",
    "ema": "auto", "low_vram": "auto", "quantize": "off", "cache_text_embeddings": "on", "max_minutes": 0,
    "max_dollars": 0,
}  # fmt: skip


def values(**changes: object) -> list[object]:
    form = FORM | changes
    return [form[field] for field in SETTINGS]


def start(handlers: SetupHandlers, dataset_id: str, name: str = "Zorbot", **changes: object) -> str:
    """Press Start, and return what is said."""
    _, said = handlers.start(Visit(), dataset_id, BASE_MODEL, name, "zorbot", *values(**changes))
    text: str = said["text"]
    return text


def named(updates: tuple[Any, ...]) -> dict[str, Any]:
    """The recommended settings among a handler's updates, by field."""
    return dict(zip(RECOMMENDED, updates[-len(RECOMMENDED) :], strict=True))


def test_a_training_needs_pictures(quiet_studio: Studio) -> None:
    said = start(SetupHandlers(quiet_studio), "")

    assert said == "There are no pictures to train on yet. Add some, or try the sample pictures."


def test_a_bad_value_is_named_by_its_label(quiet_studio: Studio) -> None:
    handlers = SetupHandlers(quiet_studio)
    quiet_studio.datasets.sample(LOCAL_OWNER)
    for wish, sentence in (
        ({"name": ""}, "The name is empty; give it a name."),
        ({"steps": 0}, "“Steps” is 0; the least is 1."),
        ({"learning_rate": "quick"}, "The learning rate is 'quick'; it must be a number."),
        ({"seed": 1.5}, "The seed is 1.5; it must be a whole number."),
        ({"max_minutes": -1}, "“Stop after” is -1; it must be more than 0."),
    ):
        assert start(handlers, SAMPLE_ID, **wish) == sentence  # type: ignore[arg-type]


def test_what_stands_in_the_way_is_said_and_nothing_is_stored(quiet_studio: Studio, storage: Storage) -> None:
    quiet_studio.datasets.sample(LOCAL_OWNER)
    before = storage.loras.list_folders(f"runs/{LOCAL_OWNER}/train-")

    assert "training endpoint is not responding" in start(SetupHandlers(quiet_studio), SAMPLE_ID)

    assert storage.loras.list_folders(f"runs/{LOCAL_OWNER}/train-") == before


def test_the_base_model_brings_its_presets_and_settings(quiet_studio: Studio) -> None:
    chosen = SetupHandlers(quiet_studio).choose_base_model("flux1-dev", 14)
    note, presets, steps, rank, reason, prompts, *updates = chosen

    assert "accepted on Hugging Face" in note
    assert (presets.value, steps, rank, prompts.splitlines()[0]) == ("flux-subject", 1400, 16, "a photo of [trigger]")
    assert reason.endswith("100 steps for each of 14 pictures make 1,400.")
    shown = named(tuple(updates))
    assert (shown["steps"].value, shown["rank"], shown["alpha"]) == (1400, 16, 0)
    assert shown["resolution"].value == [512, 768, 1024]


def test_a_base_model_that_can_t_be_trained_here_says_so_when_it_is_chosen(quiet_studio: Studio) -> None:
    note = SetupHandlers(quiet_studio).choose_base_model("sdxl", 14)[0]

    assert note.startswith("**Stable Diffusion XL can't be trained here: ")
    assert PreviewHandlers(quiet_studio).forecast(Visit(), "sdxl", *values(resolution=[1024])) == ""


def test_steps_and_rank_follow_the_pictures_until_somebody_chooses_them(quiet_studio: Studio) -> None:
    handlers = SetupHandlers(quiet_studio)

    def follow(pictures: int, batch: int, steps: int, rank: int) -> tuple[Any, ...]:
        return handlers.follow("flux1-dev", "flux-face", pictures, batch, steps, rank, 1500, 16)

    assert follow(20, 1, 1500, 16)[0] == 2400
    assert follow(30, 2, 1500, 16)[:2] == (1750, 32)
    steps, rank, reason, *advised = follow(30, 1, 700, 8)
    assert (steps, rank, advised) == (gr.skip(), gr.skip(), [3500, 32])
    assert reason.endswith("700 steps are your own choice; 3,500 are recommended.")


def test_a_base_model_without_presets_has_its_own_settings(quiet_studio: Studio) -> None:
    advice = SetupHandlers(quiet_studio).advice("z-image-turbo", None, 20)

    assert advice.presets == []
    assert advice.values["steps"] == 2000
    assert advice.reason() == "The base model's usual settings."


def test_the_config_follows_the_form_and_says_what_is_wrong(quiet_studio: Studio) -> None:
    preview = PreviewHandlers(quiet_studio)

    shown = preview.config("flux1-dev", "My cat", "m1a", *values(steps=123, resolution=[512], rank=7, quantize="auto"))
    told = yaml.safe_load(shown)["config"]["process"][0]
    assert (told["train"]["steps"], told["network"]["linear"], told["model"]["quantize"]) == (123, 7, True)
    assert told["sample"]["samples"][0]["prompt"] == "a m1a"
    assert preview.config("flux1-dev", "", "", *values(steps=0)) == "“Steps” is 0; the least is 1."


def test_a_forecast_goes_by_the_past_and_else_is_called_a_guess(quiet_studio: Studio, past: Past) -> None:
    handlers = PreviewHandlers(quiet_studio)
    guess = handlers.forecast(Visit(), BASE_MODEL, *values(resolution=[64], steps=300))
    assert guess == "**About 20 s**\n\nA rough guess, until you have trained one like this."

    wishes = {"resolution": [64], "batch_size": 1, "prior_preservation": False}
    keys = past.training("Timed", wishes)
    past.finish(keys, 100, {"queued": 1000.0, "starting": 10.0, "training": 50.0, "sampling": 20.0})
    said = handlers.forecast(Visit(), BASE_MODEL, *values(resolution=[64], steps=300))
    assert said == "**About 3 min**\n\nBased on your last training like this."
    assert handlers.forecast(Visit(), BASE_MODEL, *values(steps=0)) == ""


def test_a_form_becomes_a_request(quiet_studio: Studio) -> None:
    wishes = wishes_of(tuple(values(max_minutes=90, max_dollars=2)), quiet_studio.estimates)

    assert wishes["sample_prompts"] == ["a [trigger]", "a cat"]
    assert (wishes["alpha"], wishes["ema"], wishes["quantize"], wishes["cache_text_embeddings"]) == (
        None, None, False, True,
    )  # fmt: skip
    assert wishes["max_minutes"] == 90
    assert "max_dollars" not in wishes


def test_dollars_become_minutes_at_the_gpus_price(storage_settings: Any) -> None:
    studio = Studio.connect(
        storage_settings.model_copy(update={"runpod_base_url": "https://example.invalid", "atelier_gpu_price": 1.2})
    )
    wishes = wishes_of(tuple(values(max_minutes=90, max_dollars=1)), studio.estimates)
    studio.close()

    assert wishes["max_minutes"] == pytest.approx(50)


def test_learning_rates_are_offered_with_the_usual_one_marked() -> None:
    choices = learning_rate_choices(1.6e-2)

    assert choices[-1] == ("1.6e-2 (usual)", "1.6e-2")
    assert ("1e-4", "1e-4") in choices
    assert float(learning_rate_value(4e-3)) == 4e-3


def test_resolutions_are_those_the_base_model_takes(quiet_studio: Studio) -> None:
    tiny, flux = quiet_studio.base_models["tiny-flux"], quiet_studio.base_models["flux1-dev"]

    assert [side for _, side in resolution_choices(tiny, [])] == [128]
    assert [side for _, side in resolution_choices(flux, [600])] == [512, 600, 640, 768, 896, 1024, 1280, 1536]


@pytest.mark.parametrize(
    ("seconds", "words"), [(4, "10 s"), (84, "80 s"), (150, "2 min"), (3600, "60 min"), (7260, "2 h 1 min")]
)
def test_lengths_of_time_are_said_roughly(seconds: float, words: str) -> None:
    assert length_of_time(seconds) == words
