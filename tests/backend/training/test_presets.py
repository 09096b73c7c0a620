"""Presets: what they come to for a number of pictures, and why."""

from pathlib import Path

import pytest

from backend.base_models import load_base_model, load_base_models
from backend.contract import TrainingRequest
from backend.errors import InvalidRequest
from backend.training.presets import Preset, load_presets, presets_for, recommend

PRESETS = {preset.id: preset for preset in load_presets()}


@pytest.mark.parametrize(
    ("preset", "images", "steps", "reason"),
    [
        ("flux-quick", 3, 1000, "1,000 steps, whatever the number of pictures."),
        ("flux-subject", 14, 1400, "100 steps for each of 14 pictures make 1,400."),
        ("flux-subject", 1, 1200, "100 steps for each of 1 picture make 100; fewer than 1,200 teach too little."),
        ("flux-subject", 80, 2500, "100 steps for each of 80 pictures make 8,000; more than 2,500 only wear it out."),
        ("flux-face", 20, 2400, "120 steps for each of 20 pictures make 2,400."),
        ("flux-style", 40, 2000, "50 steps for each of 40 pictures make 2,000."),
        ("sd35-large", 20, 2000, "100 steps for each of 20 pictures make 2,000."),
    ],
)
def test_steps_follow_from_the_pictures_and_say_why(preset: str, images: int, steps: int, reason: str) -> None:
    recommended = recommend(PRESETS[preset], images)
    assert (recommended.steps, recommended.reason) == (steps, reason)


def test_a_batch_divides_the_steps() -> None:
    recommended = recommend(PRESETS["sdxl"], 20, batch_size=4)
    assert recommended.steps == 600
    assert recommended.reason.endswith("; 4 pictures at once need 600 steps for that.")
    assert (recommended.rank, recommended.alpha) == (32, 16)


@pytest.mark.parametrize(("images", "rank"), [(29, 16), (30, 32)])
def test_many_pictures_of_a_face_get_a_higher_rank(images: int, rank: int) -> None:
    recommended = recommend(PRESETS["flux-face"], images)
    assert (recommended.rank, recommended.alpha) == (rank, rank)
    assert ("Rank 32" in recommended.reason) is (rank == 32)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.id)
def test_every_preset_makes_a_valid_request(preset: Preset) -> None:
    asked = recommend(preset, 20).model_dump(exclude={"reason"})
    for spec in load_base_models().values():
        if spec.architecture in preset.architectures:
            settings = TrainingRequest(base_model=spec, lora_name="x", dataset_key="y", **asked).settings_for(spec)
            assert settings.steps == asked["steps"]


def test_each_base_model_sees_its_own_presets() -> None:
    named = {
        base_model: [preset.name for preset in presets_for(load_base_model(base_model), load_presets())]
        for base_model in ("flux1-dev", "sdxl", "tiny-flux")
    }
    assert named == {
        "flux1-dev": ["Subject", "Face", "Style", "Quick"],
        "sdxl": ["Balanced"],
        "tiny-flux": ["Subject", "Quick"],
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [("rank = 0", "'presets.0.rank' is 0"), ("rnak = 16", "'presets.0.rnak' is not a known field"), ("=", "can't be")],
)
def test_a_bad_file_is_refused_by_field(tmp_path: Path, change: str, words: str) -> None:
    file = tmp_path / "presets.toml"
    file.write_text(f'[[presets]]\nid = "x"\n{change}\n')
    with pytest.raises(InvalidRequest, match=rf"presets\.toml.*{words}"):
        load_presets(file)
