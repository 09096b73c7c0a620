"""What to look at in a dataset before training on it, and for each thing what mends it. It reads and stores nothing."""

import re
from collections.abc import Iterator
from typing import Literal, get_args

from pydantic import Field

from backend.contract import BaseModelSpec, Dataset, DatasetImage, Message
from backend.datasets.looks import near_copies

FEW = 10  # pictures
BLURRED = 0.06  # a sharp photograph has 0.15 and more, the same out of focus 0.04
_ENLARGED = 0.9  # of the smallest resolution's pixels; below it a picture teaches blur

Level = Literal["blocks", "warns", "hints"]
_GRAVEST_FIRST = get_args(Level)
Remedy = Literal["add", "select", "captions"]


class Finding(Message):
    """One thing to look at. `remedy` says what a press of the button does: add files, select the pictures, or write
    `captions`."""

    level: Level
    title: str
    detail: str
    pictures: list[str] = Field(default_factory=list)  # content hashes
    remedy: Remedy = "select"
    button: str = "Show them"
    captions: dict[str, str] = Field(default_factory=dict)


def check_up(dataset: Dataset, trigger_word: str, spec: BaseModelSpec) -> list[Finding]:
    """Return what to look at, the gravest first. Only what can't be trained on blocks."""
    if not dataset.images:
        return [_add("blocks", "There are no pictures yet", "Training needs at least one.")]
    found = [
        *_few(dataset.images),
        *_small(dataset.images, min(spec.training.resolution)),
        *_blurred(dataset.images),
        *_copies(dataset.images),
        *_captions(dataset.images, " ".join(trigger_word.split())),
        *_too_long(dataset.images, spec),
    ]
    return sorted(found, key=lambda finding: _GRAVEST_FIRST.index(finding.level))


def tokens_in(text: str) -> int:
    """Return about how many tokens a text encoder makes of a text: long words are cut into pieces."""
    return sum(1 + len(word) // 9 for word in re.findall(r"\w+|[^\w\s]", text))


def _few(images: list[DatasetImage]) -> Iterator[Finding]:
    if len(images) < FEW:
        detail = "Ten to thirty work best: vary the angle, the light and the background."
        yield _add("warns", _counted(len(images), "Only one picture", "Only {} pictures"), detail)


def _small(images: list[DatasetImage], resolution: int) -> Iterator[Finding]:
    found = [image.sha256 for image in images if image.width * image.height < _ENLARGED * resolution**2]
    if found:
        title = _counted(len(found), "One picture is small", "{} pictures are small")
        detail = (
            f"Below {resolution} × {resolution} pixels there is little detail to learn. Use larger ones if you can."
        )
        yield Finding(level="warns", title=title, detail=detail, pictures=found, button=_show(found))


def _blurred(images: list[DatasetImage]) -> Iterator[Finding]:
    found = [image.sha256 for image in images if image.sharpness is not None and image.sharpness < BLURRED]
    if found:
        title = _counted(len(found), "One picture looks blurred", "{} pictures look blurred")
        detail = "The LoRA would learn the blur as well."
        yield Finding(level="warns", title=title, detail=detail, pictures=found, button=_show(found))


def _copies(images: list[DatasetImage]) -> Iterator[Finding]:
    pixels = {image.sha256: image.width * image.height for image in images}
    groups = near_copies({image.sha256: image.fingerprint for image in images})
    # Of each group the largest stays.
    found = [name for group in groups for name in sorted(group, key=lambda name: -pixels[name])[1:]]
    if found:
        title = _counted(len(found), "One picture is nearly a copy", "{} pictures are nearly copies")
        detail = "What is there twice counts twice. This selects all but the largest of each."
        button = _counted(len(found), "Select it", "Select the copies")
        yield Finding(level="warns", title=title, detail=detail, pictures=found, button=button)


def _captions(images: list[DatasetImage], trigger_word: str) -> Iterator[Finding]:
    empty = [image.sha256 for image in images if not image.caption.strip()]
    written = {image.sha256: image.caption for image in images if image.caption.strip()}
    if empty:
        title = _counted(len(empty), "One picture has no caption", "{} pictures have no caption")
        detail = (
            "The trigger word alone will stand for them."
            if trigger_word
            else "No prompt could call up what is on them."
        )
        level: Level = "hints" if trigger_word else "warns"
        yield Finding(level=level, title=title, detail=detail, pictures=empty, button=_show(empty))
    if len(written) > 2 and len(set(written.values())) == 1:
        detail = "Describe what differs from picture to picture, so that it isn’t learnt as part of the subject."
        yield Finding(level="warns", title="All captions are the same", detail=detail, pictures=list(written))
    without = [name for name, caption in written.items() if not _names(caption, trigger_word)]
    if trigger_word and without:
        title = _counted(len(without), "One caption lacks the trigger word", "{} captions lack the trigger word")
        yield Finding(
            level="hints",
            title=title,
            detail=f"Training puts “{trigger_word}” in front of them anyway. Written here, you choose where it stands.",
            pictures=without,
            remedy="captions",
            button=f"Add “{trigger_word}” in front",
            captions={name: f"{trigger_word}, {written[name]}" for name in without},
        )


def _too_long(images: list[DatasetImage], spec: BaseModelSpec) -> Iterator[Finding]:
    most = spec.max_sequence_length
    found = {image.sha256: _shortened(image.caption, most) for image in images if tokens_in(image.caption) > most}
    if found:
        yield Finding(
            level="warns",
            title=_counted(len(found), "One caption is too long", "{} captions are too long"),
            detail=f"{spec.name} reads about {most} tokens, or {most * 3 // 4} words, and ignores the rest.",
            pictures=list(found),
            remedy="captions",
            button=_counted(len(found), "Shorten it", "Shorten them"),
            captions=found,
        )


def _names(caption: str, trigger_word: str) -> bool:
    return trigger_word.lower() in caption.lower() or "[trigger]" in caption


def _shortened(caption: str, most: int) -> str:
    words = caption.split()
    while words and tokens_in(" ".join(words)) > most:
        words.pop()
    return " ".join(words).rstrip(",;:")


def _show(found: list[str]) -> str:
    return _counted(len(found), "Show it", "Show them")


def _add(level: Level, title: str, detail: str) -> Finding:
    return Finding(level=level, title=title, detail=detail, remedy="add", button="Add files")


def _counted(count: int, one: str, several: str) -> str:
    return one if count == 1 else several.format(f"{count:,}")
