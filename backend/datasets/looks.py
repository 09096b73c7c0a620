"""How a picture looks, in two small figures: how sharp it is, and a fingerprint that near copies share."""

from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from backend.pictures import OVERVIEW_SIDE

_GRID = 16  # the fingerprint compares 16 × 16 neighbours: 256 bits
_BRIGHTER = 3  # of 255; less is noise, or what compression left
_NEAR_BITS = 8  # of 256; a copy that was scaled, compressed or brightened differs by fewer
_AT_ONCE = 64  # fingerprints compared with all others; more would not fit the processor's cache
_STEEPEST = 0.002  # the share of a picture that has to be in focus
_MIN_CONTRAST = 12  # of 255; a plain area has no edges to judge by
_EDGES = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=2, offset=128)


def overview(image: Image.Image) -> Image.Image:
    """Return a picture shrunk by a whole number, its longer side at least 1000 pixels where it was: enough for its
    looks and its thumbnail, and a tenth of the work for a photograph."""
    factor = max(image.size) // OVERVIEW_SIDE
    return image.reduce(factor) if factor > 1 else image


def sharpness(image: Image.Image) -> float | None:
    """Return how steep the steepest edges are, beside the picture's own contrast: 0 to 1, None for a plain area."""
    grey = image.convert("L")
    grey.thumbnail((OVERVIEW_SIDE, OVERVIEW_SIDE), Image.Resampling.BOX, reducing_gap=1.0)
    levels = grey.histogram()
    contrast = _level_at(levels, 0.99) - _level_at(levels, 0.01)
    if contrast < _MIN_CONTRAST:
        return None
    edges = grey.filter(_EDGES).crop((1, 1, grey.width - 1, grey.height - 1)).histogram()
    steepness = [edges[128]] + [edges[128 + by] + edges[128 - by] for by in range(1, 128)]
    return round(min(1.0, _level_at(steepness, 1 - _STEEPEST) / contrast), 4)


def fingerprint(image: Image.Image) -> str:
    """Return 64 hexadecimal digits: for each place of a small grid, whether it is brighter than the next."""
    grid = image.convert("L").resize((_GRID + 1, _GRID), Image.Resampling.BOX).tobytes()
    row = _GRID + 1
    bits = 0
    for y in range(_GRID):
        for x in range(_GRID):
            bits = bits << 1 | (grid[y * row + x] > grid[y * row + x + 1] + _BRIGHTER)
    return f"{bits:064x}"


def near_copies(fingerprints: dict[str, str]) -> list[list[str]]:
    """Return the groups of names whose fingerprints all but agree; each group has at least two."""
    names = [name for name, digits in fingerprints.items() if digits]
    # Shape: (4, pictures) - 256 bits each
    words = np.frombuffer(bytes.fromhex("".join(map(fingerprints.__getitem__, names))), np.uint64).reshape(-1, 4).T
    left = np.ones(len(names), dtype=bool)  # those in no group yet
    groups: list[list[str]] = []
    for first in range(0, len(names), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        near = _near(words[:, rows], words)
        for row in np.flatnonzero(left[rows] & (near.sum(axis=1) > 1)):
            if not left[first + row]:
                continue
            left[first + row] = False
            group = [int(first + row)]
            for member in group:  # grows while it is gone through
                further = np.flatnonzero(left & _near(words[:, member : member + 1], words)[0])
                left[further] = False
                group += further.tolist()
            groups.append([names[member] for member in group])
    return groups


def _near(some: "np.ndarray[Any, np.dtype[np.uint64]]", words: "np.ndarray[Any, np.dtype[np.uint64]]") -> Any:
    """Return for each of some fingerprints which of all are near it: bool, shape (some, all)."""
    # Sixteen bits: 256 differences don't fit eight.
    counts = (np.bitwise_count(mine[:, None] ^ theirs) for mine, theirs in zip(some, words, strict=True))
    differing = sum(counts, start=np.uint16(0))
    return differing <= _NEAR_BITS


def _level_at(histogram: list[int], share: float) -> int:
    """Return the level below which `share` of the counted lie."""
    wanted, seen = sum(histogram) * share, 0
    for level, count in enumerate(histogram):
        seen += count
        if seen >= wanted:
            return level
    return len(histogram) - 1
