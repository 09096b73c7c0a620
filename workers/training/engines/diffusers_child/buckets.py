"""Which size each picture is trained at, and in which order: pictures of one size go into a batch together."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image

from backend.contract import BaseModelSpec

MAX_ASPECT = 2.5  # longer pictures are cropped


class BucketSize(NamedTuple):
    """A size in pixels that pictures are scaled and cropped to."""

    width: int
    height: int


def bucket_sizes(resolution: int, spec: BaseModelSpec, *, declared_only: bool) -> list[BucketSize]:
    """Return the sizes of about `resolution`² pixels a base model can be trained at."""
    area = min(resolution**2, spec.max_pixels)
    if declared_only:
        return [BucketSize(size.width, size.height) for size in spec.sizes if size.width * size.height <= area * 1.1]
    step = spec.size_multiple
    sizes = (BucketSize(width, int(area / width) // step * step) for width in range(step, 4096 + step, step))
    return [size for size in sizes if size.height and 1 / MAX_ASPECT <= size.width / size.height <= MAX_ASPECT]


def nearest(width: int, height: int, sizes: Sequence[BucketSize]) -> BucketSize:
    """Return the size that cuts least off a picture; of equals, the largest."""
    aspect = math.log(width / height)
    return min(sizes, key=lambda size: (round(abs(math.log(size.width / size.height) - aspect), 6), -math.prod(size)))


def fit(image: Image.Image, size: BucketSize) -> Image.Image:
    """Return the picture scaled to cover `size`, what stands out cut off evenly on both sides."""
    scale = max(size.width / image.width, size.height / image.height)
    shown_width, shown_height = size.width / scale, size.height / scale
    left, top = (image.width - shown_width) / 2, (image.height - shown_height) / 2
    box = (left, top, left + shown_width, top + shown_height)
    return image.resize(size, Image.Resampling.LANCZOS, box=box)


class Batches:
    """Draws batches for ever: each item once before any comes again, one bucket a batch, larger buckets more often.

    `groups` are the items of each bucket. What it has drawn so far is its state; the randomness is the caller's.
    """

    def __init__(self, groups: Sequence[Sequence[int]], batch_size: int) -> None:
        self._groups = [list(group) for group in groups]
        self._batch_size = batch_size
        self._waiting: list[list[int]] = [[] for _ in groups]

    def draw(self, random: torch.Generator) -> list[int]:
        """Return the items of the next batch; fewer than the batch size only where the bucket has fewer."""
        total = sum(len(group) for group in self._groups)
        place = int(torch.randint(total, (1,), generator=random))
        bucket = 0
        while place >= len(self._groups[bucket]):
            place -= len(self._groups[bucket])
            bucket += 1
        group, waiting = self._groups[bucket], self._waiting[bucket]
        count = min(self._batch_size, len(group))
        while len(waiting) < count:
            waiting += [group[index] for index in torch.randperm(len(group), generator=random).tolist()]
        self._waiting[bucket] = waiting[count:]
        return waiting[:count]

    def state(self) -> list[Any]:
        return [list(waiting) for waiting in self._waiting]

    def restore(self, state: list[Any]) -> None:
        self._waiting = [list(waiting) for waiting in state]
