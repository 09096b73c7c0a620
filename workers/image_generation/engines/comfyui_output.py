"""The pictures that ComfyUI writes into its folder: taken when they show something, and removed."""

import shutil
from pathlib import Path

from PIL import Image

from backend.errors import EngineError
from workers.image_generation.comfyui_client import History


def take_picture(output: Path, history: History, save_node: str, target: Path) -> None:
    """Move the picture out of ComfyUI's folder. Raises EngineError when there is none, or when it shows nothing."""
    files = [file for file in history.outputs if file.node == save_node]
    if not files:
        raise EngineError("ComfyUI ended without a picture.", "Check that the workflow's SaveImage is reached.")
    source = (output / files[-1].subfolder / files[-1].filename).resolve()
    if not source.is_relative_to(output.resolve()) or not source.is_file():
        raise EngineError(f"ComfyUI names a picture that is not there: {files[-1].filename}.", "Try again.")
    with Image.open(source) as image:
        extremes = image.convert("RGB").getextrema()
    if all(low == high for low, high in extremes):  # type: ignore[misc]
        raise EngineError(
            "The picture came out in a single colour: the model calculated nonsense.",
            "Try another seed, a lower LoRA strength, or another size.",
        )
    shutil.move(source, target)


def remove_files(folder: Path, prefix: str) -> None:
    """Remove what a prompt has left under ComfyUI's folder, and what nodes such as PreviewImage have named there."""
    for path in [*folder.rglob(f"{prefix}*"), *(folder / "temp").rglob("*")]:
        if path.is_file():
            path.unlink(missing_ok=True)
