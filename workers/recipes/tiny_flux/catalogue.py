"""What the model knows, read from concepts.toml: concepts, styles and backgrounds; and the captions made of them."""

import random
import tomllib
from dataclasses import dataclass
from pathlib import Path

CATALOGUE_FILE = Path(__file__).with_name("concepts.toml")

_PLURAL_OR_MASS = ("s", "fries", "cheese", "bread", "fire", "coffee")  # take no article …
_SINGULAR_IN_S = ("cactus", "octopus", "bus")  # … but these do


@dataclass(frozen=True)
class Catalogue:
    palette: dict[str, tuple[int, int, int]]  # background name → red, green, blue, 0 to 255
    icon_sets: dict[str, str]  # icon set → style, all that the VAE sees
    styles: tuple[str, ...]  # those that the base model learns, the default first
    concepts: dict[str, list[str]]  # icon → its name in prompts, then other names
    common_words: list[str]  # for the tokenizers

    @property
    def colours(self) -> list[str]:
        """The backgrounds other than white."""
        return [background for background in self.palette if background != "white"]


def load_catalogue(file: Path = CATALOGUE_FILE) -> Catalogue:
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    palette = {name: (red, green, blue) for name, (red, green, blue) in table["palette"].items()}
    return Catalogue(palette, table["icon_sets"], tuple(table["styles"]), table["concepts"], table["common_words"])


def with_article(name: str) -> str:
    """Return "a cat", "an owl", "grapes": the name as a prompt says it."""
    if name.endswith(_PLURAL_OR_MASS) and name not in _SINGULAR_IN_S:
        return name
    return ("an " if name[0] in "aeio" else "a ") + name


def plain_prompt(catalogue: Catalogue, icon: str, style: str | None = None, background: str | None = None) -> str:
    """Return the one prompt that evaluation uses for an icon, a style and a background."""
    prompt = with_article(catalogue.concepts[icon][0])
    if background:
        prompt += f" on a {background} background"
    return prompt if style is None or style == catalogue.styles[0] else f"{prompt}, {style}"


def random_caption(catalogue: Catalogue, icon: str, style: str, background: str, rng: random.Random) -> str:
    """Return one of the ways to describe an icon, so that the model understands them all.

    The default style is mostly left unsaid, and so is white: a prompt that is silent on them gets both.
    """
    name, *others = catalogue.concepts[icon]
    if others and rng.random() >= 0.75:
        name = rng.choice(others)
    form = rng.random()
    if form < 0.75:
        name = with_article(name)
    elif form >= 0.9:
        name = "a picture of " + with_article(name)
    style_unsaid = style == catalogue.styles[0] and rng.random() < 0.6
    style_words = "" if style_unsaid else f", {style}"
    background_said = background != "white" or rng.random() < 0.15
    background_words = f" on a {background} background" if background_said else ""
    return name + (background_words + style_words if rng.random() < 0.6 else style_words + background_words)
