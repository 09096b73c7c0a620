"""Icons as tensors and tensors as pictures: loading what render.py wrote, compositing, contact sheets."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from catalogue import Catalogue
from PIL import Image

ICON_SIZE = 128  # pixels


class Icon(NamedTuple):
    name: str  # id
    style: str


@dataclass(frozen=True)
class Icons:
    rgba: torch.Tensor  # uint8, shape (N, 4, 128, 128), alpha not premultiplied
    items: list[Icon]

    def __len__(self) -> int:
        return len(self.items)


def load_icons(folder: Path) -> Icons:
    """Return everything that render.py wrote."""
    rgba = torch.from_numpy(np.load(folder / "rgba128.npy")).permute(0, 3, 1, 2)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    return Icons(rgba, [Icon(icon, style) for _, style, icon in meta])


def load_base_icons(folder: Path, catalogue: Catalogue) -> Icons:
    """Return the icons that the base model learns: the catalogue's concepts, in the catalogue's styles."""
    icons = load_icons(folder)
    chosen = [
        i for i, icon in enumerate(icons.items) if icon.name in catalogue.concepts and icon.style in catalogue.styles
    ]
    return Icons(icons.rgba[chosen], [icons.items[i] for i in chosen])


def composite(rgba: torch.Tensor, colour: tuple[int, int, int], size: tuple[int, int] = (128, 128)) -> torch.Tensor:
    """Put icons on a flat colour, centred, as large as fits the canvas of `size` (height, width).

    Takes uint8 (B, 4, 128, 128), returns float32 (B, 3, height, width) from -1 to 1.
    """
    pixels = rgba.float() / 255
    # Premultiplied, so that scaling doesn't pull the colour of transparent pixels into the edges.
    pixels = torch.cat([pixels[:, :3] * pixels[:, 3:], pixels[:, 3:]], 1)
    height, width = size
    side = min(height, width)
    if side != ICON_SIZE:
        pixels = F.interpolate(pixels, (side, side), mode="area")
    left, top = (width - side) // 2, (height - side) // 2
    pixels = F.pad(pixels, (left, width - side - left, top, height - side - top))
    background = torch.tensor(colour).view(1, 3, 1, 1) / 255
    return (pixels[:, :3] + background * (1 - pixels[:, 3:])) * 2 - 1


def to_tensor(images: Sequence[Image.Image]) -> torch.Tensor:
    """Return float32 (B, 3, H, W) from -1 to 1."""
    pixels = torch.stack([torch.from_numpy(np.array(image.convert("RGB"))) for image in images])
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_images(pixels: torch.Tensor) -> list[Image.Image]:
    """Take (B, 3, H, W) from -1 to 1."""
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(level) for level in levels]


def save_sheet(images: Sequence[Image.Image], file: Path, columns: int) -> None:
    """Save pictures of one size as a grid, row by row."""
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * width, i // columns * height))
    sheet.save(file)
