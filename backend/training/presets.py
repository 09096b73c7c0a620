"""The presets of assets/presets.toml: training settings worked out from the number of pictures, with the reason."""

import math
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from backend.base_models import ASSETS
from backend.contract import BaseModelSpec, Message, explain
from backend.errors import InvalidRequest

PRESETS = ASSETS / "presets.toml"


class Preset(Message):
    """A way to train, as its entry declares it."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    name: str
    summary: str
    architectures: list[str] = Field(min_length=1)
    steps_per_image: int | None = Field(None, ge=1)  # None: always the same number of steps
    least_steps: int = Field(ge=1, le=20_000)
    most_steps: int = Field(ge=1, le=20_000)
    learning_rate: float = Field(gt=0, le=0.1)
    rank: int = Field(ge=1, le=256)
    many_images: int | None = Field(None, ge=1)  # from how many on `rank_for_many` is taken
    rank_for_many: int | None = Field(None, ge=1, le=256)
    alpha: int | None = Field(None, ge=1, le=256)  # None: as much as the rank
    resolution: list[Annotated[int, Field(ge=64, le=2048)]] = Field(min_length=1, max_length=6)
    caption_dropout: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> "Preset":
        if self.least_steps > self.most_steps:
            raise ValueError("has a 'least_steps' above its 'most_steps'")
        if (self.many_images is None) != (self.rank_for_many is None):
            raise ValueError("needs both 'many_images' and 'rank_for_many', or neither")
        return self


class Recommendation(Message):
    """What a preset comes to for a number of pictures; the fields are a training request's own."""

    steps: int
    learning_rate: float
    rank: int
    alpha: int
    resolution: list[int]
    caption_dropout: float
    reason: str  # how the steps and the rank came about, for the screen


class _PresetFile(Message):
    presets: list[Preset]


def load_presets(path: Path = PRESETS) -> list[Preset]:
    """Return every preset in the file's order. Raises InvalidRequest by file and field for a bad one."""
    try:
        return _PresetFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).presets
    except ValidationError as error:
        raise InvalidRequest(f"{path.name}: {explain(error)}") from error
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path.name} can't be read: {error}.") from error


def presets_for(spec: BaseModelSpec, presets: list[Preset]) -> list[Preset]:
    """Return the presets that fit a base model; one without any has its own defaults."""
    return [preset for preset in presets if spec.architecture in preset.architectures]


def usual(spec: BaseModelSpec) -> Recommendation:
    """Return a base model's own settings, for one without presets."""
    fields = spec.training.model_dump(include=set(Recommendation.model_fields))
    return Recommendation(**fields, reason="The base model's usual settings.")


def recommend(preset: Preset, images: int, batch_size: int = 1) -> Recommendation:
    """Return what a preset comes to for `images` pictures."""
    steps, steps_reason = _steps(preset, images, batch_size)
    rank, rank_reason = _rank(preset, images)
    return Recommendation(
        steps=steps,
        learning_rate=preset.learning_rate,
        rank=rank,
        alpha=preset.alpha or rank,
        resolution=preset.resolution,
        caption_dropout=preset.caption_dropout,
        reason=f"{steps_reason}{rank_reason}",
    )


def _steps(preset: Preset, images: int, batch_size: int) -> tuple[int, str]:
    if preset.steps_per_image is None:
        return preset.least_steps, f"{preset.least_steps:,} steps, whatever the number of pictures."
    pictures = "1 picture" if images == 1 else f"{images:,} pictures"
    asked = preset.steps_per_image * images
    kept = min(max(asked, preset.least_steps), preset.most_steps)
    sentence = f"{preset.steps_per_image} steps for each of {pictures} make {asked:,}"
    if kept > asked:
        sentence += f"; fewer than {kept:,} teach too little"
    elif kept < asked:
        sentence += f"; more than {kept:,} only wear it out"
    steps = math.ceil(kept / batch_size)
    if batch_size > 1:
        sentence += f"; {batch_size} pictures at once need {steps:,} steps for that"
    return steps, f"{sentence}."


def _rank(preset: Preset, images: int) -> tuple[int, str]:
    if preset.rank_for_many is None or preset.many_images is None or images < preset.many_images:
        return preset.rank, ""
    return preset.rank_for_many, f" Rank {preset.rank_for_many}, because {preset.many_images} pictures or more fill it."
