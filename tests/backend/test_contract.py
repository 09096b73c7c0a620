"""What a request may say, and the sentences for what it may not."""

import math

import pytest
from pydantic import ValidationError

from backend.base_models import load_base_model
from backend.contract import (
    MAX_SEED,
    GenerationRequest,
    TrainingRequest,
    created_at,
    explain,
    file_stem,
    new_run_id,
    reverse_ms,
)

TINY = load_base_model("tiny-flux")
MINIMUM = {"lora_name": "Zorbot", "dataset_url": "https://example.com/pictures.zip"}


def complaint(**changes: object) -> str:
    with pytest.raises(ValidationError) as caught:
        TrainingRequest.model_validate(MINIMUM | changes)
    return explain(caught.value)


def test_the_minimum_is_enough_and_takes_the_base_models_settings() -> None:
    settings = TrainingRequest.model_validate(MINIMUM).settings_for(TINY)
    assert settings == TINY.training


def test_alpha_follows_rank_unless_it_is_given() -> None:
    assert TrainingRequest.model_validate(MINIMUM | {"rank": 32}).settings_for(TINY).alpha == 32
    assert TrainingRequest.model_validate(MINIMUM | {"rank": 32, "alpha": 8}).settings_for(TINY).alpha == 8


@pytest.mark.parametrize("steps", [0, -1, 10**9])
def test_steps_out_of_range_are_named_with_the_limit(steps: int) -> None:
    said = complaint(steps=steps)
    assert "'steps'" in said
    assert str(steps) in said
    assert "the least is 1" in said or "the most is 20,000" in said


@pytest.mark.parametrize("rate", [math.nan, math.inf])
def test_a_learning_rate_that_is_no_number_is_refused(rate: float) -> None:
    assert "'learning_rate'" in complaint(learning_rate=rate)
    assert "finite number" in complaint(learning_rate=rate)


def test_an_unknown_field_is_named() -> None:
    assert complaint(stepz=5) == "'stepz' is not a known field; check its spelling or leave it out."


def test_a_name_with_a_slash_says_which_character() -> None:
    assert "'lora_name' contains '/'; leave that character out." in complaint(lora_name="a/b")


@pytest.mark.parametrize("name", ["", " \t", "\u200b\u202e \ufeff"])
def test_a_name_that_nobody_would_see_is_none(name: str) -> None:
    assert "'lora_name' is empty; give it a name." in complaint(lora_name=name)


def test_a_name_of_300_characters_says_the_limit() -> None:
    assert "'lora_name' has 300 characters; use at most 80." in complaint(lora_name="x" * 300)


def test_an_emoji_is_a_fine_name_and_its_file_is_plain() -> None:
    assert TrainingRequest.model_validate(MINIMUM | {"lora_name": "Füchse 🦊"}).lora_name == "Füchse 🦊"
    assert file_stem("Füchse 🦊") == "F-chse"
    assert file_stem("🦊") == "lora"


def test_a_list_of_the_wrong_length_says_the_limit() -> None:
    assert complaint(sample_prompts=["a"] * 10) == "'sample_prompts' has 10 entries; the most is 8."
    assert complaint(resolution=[]) == "'resolution' has 0 entries; the least is 1."


def test_one_source_of_pictures_is_needed() -> None:
    assert "either 'dataset_key' or 'dataset_url'" in complaint(dataset_url=None)
    assert "either 'dataset_key' or 'dataset_url'" in complaint(dataset_key="datasets/a.zip")


def test_a_misspelt_field_inside_a_base_model_is_named() -> None:
    said = complaint(base_model=TINY.model_dump() | {"sise_multiple": 8})
    assert "'base_model.sise_multiple' is not a known field" in said


def test_a_request_survives_json() -> None:
    request = TrainingRequest.model_validate(MINIMUM | {"base_model": TINY.model_dump()})
    assert TrainingRequest.model_validate_json(request.model_dump_json()) == request


def test_sizes_are_rounded_to_what_the_base_model_takes() -> None:
    settings = GenerationRequest(prompt="a cat", width=130, height=120).settings_for(TINY)
    assert (settings.width, settings.height) == (128, 128)


def test_seeds_reach_64_bits_and_no_further() -> None:
    assert GenerationRequest(prompt="a cat", seed=MAX_SEED).seed == MAX_SEED
    with pytest.raises(ValidationError):
        GenerationRequest(prompt="a cat", seed=MAX_SEED + 1)


def test_a_picture_to_start_from_brings_its_strength() -> None:
    request = GenerationRequest(prompt="a cat", init_image="images/ada/1.png")
    assert request.settings_for(TINY).denoise == 0.6
    assert request.model_copy(update={"denoise": 0.3}).settings_for(TINY).denoise == 0.3
    with pytest.raises(ValidationError, match="takes 'denoise' only beside 'init_image'"):
        GenerationRequest(prompt="a cat", denoise=0.3)


def test_the_trigger_word_is_put_into_the_sample_prompts() -> None:
    assert TrainingRequest.model_validate(MINIMUM | {"trigger_word": "zorbot"}).prompts_for(TINY)[0] == "a zorbot"


def test_without_a_trigger_word_sample_prompts_say_the_name() -> None:
    request = TrainingRequest.model_validate(MINIMUM | {"lora_name": "Zorbot", "trigger_word": ""})
    assert request.prompts_for(TINY)[0] == "a Zorbot"


def test_ids_sort_newest_first_and_tell_their_time() -> None:
    assert reverse_ms(2000.0) < reverse_ms(1000.0)
    assert abs(created_at(new_run_id("train")) - __import__("time").time()) < 5
