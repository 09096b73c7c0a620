"""Training batches of the transformer: which icons, on which backgrounds, in which shape and with which captions."""

import random
from dataclasses import dataclass
from typing import NamedTuple

import torch
from catalogue import Catalogue, random_caption
from latents import LatentCache, Shape
from pictures import Icons

SQUARE: Shape = (128, 128)
OTHER_SHAPES: tuple[Shape, ...] = ((96, 160), (160, 96))
USUAL_TEXT_LENGTH = 24  # tokens


class TextLength(NamedTuple):
    tokens: int
    pictures: int  # a batch with long texts has fewer
    share: float


class Batch(NamedTuple):
    latents: torch.Tensor  # float32 (B, tokens, 64)
    captions: list[str]
    shape: Shape
    text_length: int

    @property
    def is_usual(self) -> bool:
        """Whether compiled blocks may run it: they have one graph, for the commonest shape."""
        return self.shape == SQUARE and self.text_length == USUAL_TEXT_LENGTH


@dataclass(frozen=True)
class BatchSource:
    catalogue: Catalogue
    icons: Icons
    cache: LatentCache
    text_lengths: list[TextLength]
    other_shapes: float  # share of the batches
    caption_dropout: float
    rng: random.Random
    device: torch.device

    def draw(self) -> Batch:
        """One shape and one text length a batch. Two fifths of the pictures are on white."""
        rng, colours = self.rng, self.catalogue.colours
        shape = SQUARE if rng.random() >= self.other_shapes else rng.choice(OTHER_SHAPES)
        text = rng.choices(self.text_lengths, [length.share for length in self.text_lengths])[0]
        chosen = [rng.randrange(len(self.icons)) for _ in range(max(1, text.pictures))]
        backgrounds = ["white" if rng.random() < 0.4 else rng.choice(colours) for _ in chosen]
        latents = torch.stack([self.cache[shape][name][i] for i, name in zip(chosen, backgrounds, strict=True)])
        captions = [self._caption(i, background) for i, background in zip(chosen, backgrounds, strict=True)]
        return Batch(latents.to(self.device).float(), captions, shape, text.tokens)

    def _caption(self, index: int, background: str) -> str:
        if self.rng.random() < self.caption_dropout:
            return ""
        icon = self.icons.items[index]
        return random_caption(self.catalogue, icon.name, icon.style, background, self.rng)
