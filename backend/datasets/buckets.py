"""What a picture becomes for training: the size it is scaled and cropped to, as ai-toolkit chooses it."""

import math
from typing import NamedTuple

# The wide shapes SDXL was trained in; they go upright, too. ai-toolkit scales them for every base model.
_WIDE = (
    (2048, 512), (1984, 512), (1920, 512), (1856, 512), (1792, 576), (1728, 576), (1664, 576), (1600, 640), (1536, 640),
    (1472, 704), (1408, 704), (1344, 704), (1344, 768), (1280, 768), (1216, 832), (1152, 832), (1152, 896), (1088, 896),
    (1088, 960), (1024, 960),
)  # fmt: skip
_SHAPES = ((1024, 1024), *_WIDE, *((height, width) for width, height in reversed(_WIDE)), (8192, 128), (128, 8192))


class Crop(NamedTuple):
    """A size to train at, and the part of the picture that is seen: where it begins and how far it goes, 0 to 1."""

    width: int  # pixels
    height: int
    left: float
    top: float
    across: float
    down: float

    @property
    def lost(self) -> float:
        """The share of the picture that is cut off."""
        return 1 - self.across * self.down


def crop_for(width: int, height: int, resolution: int, multiple: int) -> Crop:
    """Return what a picture of this size becomes at a resolution: the shape that loses fewest pixels, cut evenly.

    A picture with fewer pixels than that is not enlarged: it is trained at its own resolution.
    """
    scale_to = min(resolution, math.isqrt(width * height))
    shapes = [tuple(int(side * scale_to / 1024) // multiple * multiple for side in shape) for shape in _SHAPES]
    possible = [(across, down) for across, down in shapes if across and down] or [(multiple, multiple)]
    across, down = min(possible, key=lambda shape: (shape != (width, height), _removed(width, height, *shape)))
    scale = max(across / width, down / height)
    seen_across, seen_down = min(1.0, across / scale / width), min(1.0, down / scale / height)
    return Crop(across, down, (1 - seen_across) / 2, (1 - seen_down) / 2, seen_across, seen_down)


def _removed(width: int, height: int, across: int, down: int) -> int:
    scale = max(across / width, down / height)
    scaled_across, scaled_down = int(width * scale), int(height * scale)
    return (scaled_across - across) * scaled_down + (scaled_down - down) * scaled_across
