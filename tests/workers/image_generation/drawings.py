"""What the tests and the benchmark ask an engine to draw: a cat."""

from pathlib import Path
from typing import Any

from backend.contract import BaseModelSpec
from workers.image_generation.engines import Drawing, PictureToDraw


def drawing_of_a_cat(spec: BaseModelSpec, weights: Path, folder: Path, /, *seeds: int, **changes: Any) -> Drawing:
    """Return a drawing with one picture a seed; `changes` are its fields."""
    drawing = Drawing(
        spec=spec,
        weights=weights,
        folder=folder,
        prompt="a cat",
        negative_prompt="",
        width=96,
        height=128,
        steps=30,
        guidance=3.5,
        loras=[],
        pictures=[PictureToDraw(index=index, seed=seed) for index, seed in enumerate(seeds)],
    )
    return drawing.model_copy(update=changes)
