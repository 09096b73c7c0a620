"""What a grid varies: the values of an axis read from what a person typed, with every mistake named. Pure."""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Literal, NamedTuple, TypeVar

from backend.contract import MAX_PROMPT, MAX_SEED
from backend.errors import InvalidRequest

T = TypeVar("T")

AxisKind = Literal["prompt", "seed", "lora", "checkpoint", "strength", "steps", "guidance"]

AXIS_NAMES: dict[AxisKind, str] = {
    "prompt": "Prompt",
    "seed": "Seed",
    "lora": "LoRA",
    "checkpoint": "Checkpoint",
    "strength": "Strength",
    "steps": "Steps",
    "guidance": "Guidance",
}

MOST_VALUES = 24  # on one axis
_RANGE = re.compile(
    r"(?P<first>-?\d+(?:\.\d+)?)\s*(?:–|—|-|to|\.\.)\s*(?P<last>-?\d+(?:\.\d+)?)"
    r"(?:\s*(?:step|by)\s*(?P<step>\d+(?:\.\d+)?))?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class NumberLimits(NamedTuple):
    """What the numbers of an axis may be."""

    least: int
    most: int
    whole: bool


NUMBERS: dict[AxisKind, NumberLimits] = {
    "seed": NumberLimits(0, MAX_SEED, True),
    "strength": NumberLimits(-4, 4, False),
    "steps": NumberLimits(1, 150, True),
    "guidance": NumberLimits(0, 30, False),
}


def numbers_in(kind: AxisKind, text: str) -> list[Decimal]:
    """Return the numbers in '1, 2, 5–8' or '0–1 step 0.2', each once, in the order given.

    Raises InvalidRequest with the axis, the value and the limit.
    """
    limits = NUMBERS[kind]
    found: dict[Decimal, None] = {}
    for part in _parts(text, ",;\n"):
        for number in _expanded(kind, part, limits):
            _check(kind, number, limits)
            found[number] = None
    return _few(kind, list(found))


def prompts_in(text: str) -> list[str]:
    """Return the prompts, one a line, each once. Raises InvalidRequest."""
    prompts = list(dict.fromkeys(_parts(text, "\n")))
    for prompt in prompts:
        if len(prompt) > MAX_PROMPT:
            raise _refused("prompt", f"“{prompt[:40]}…” has {len(prompt):,} characters; the most is {MAX_PROMPT:,}.")
    return _few("prompt", prompts)


def steps_in(text: str, known: Iterable[int]) -> list[int]:
    """Return which checkpoints of a training are meant: 'all', or steps of those that are `known`."""
    there = sorted(known)
    if text.strip().lower() in ("", "all"):
        return _few("checkpoint", there)
    found: dict[int, None] = {}
    for part in _parts(text, ",;\n"):
        for number in _expanded("checkpoint", part, NumberLimits(0, 10**9, True)):
            if number not in there:
                steps = ", ".join(f"{step}" for step in there) or "none"
                raise _refused("checkpoint", f"this training has no checkpoint of step {number}; it has {steps}.")
            found[int(number)] = None
    return _few("checkpoint", list(found))


def few_loras(keys: list[str]) -> list[str]:
    """Return the LoRAs of an axis, each once. Raises InvalidRequest for none, and for too many."""
    return _few("lora", list(dict.fromkeys(keys)))


def _parts(text: str, separators: str) -> Iterator[str]:
    for part in re.split(f"[{separators}]", text):
        if part := part.strip():
            yield part


def _expanded(kind: AxisKind, part: str, limits: NumberLimits) -> Iterator[Decimal]:
    if _NUMBER.fullmatch(part):
        yield Decimal(part)
    elif found := _RANGE.fullmatch(part):
        yield from _range(kind, part, found, limits)
    else:
        raise _refused(kind, f"“{part[:40]}” is neither a number nor a range such as “{_example(limits)}”.")


def _range(kind: AxisKind, part: str, found: re.Match[str], limits: NumberLimits) -> Iterator[Decimal]:
    first, last = Decimal(found["first"]), Decimal(found["last"])
    if found["step"] is None and not limits.whole:
        raise _refused(kind, f"“{part}” says no step; write it as “{found['first']}–{found['last']} step 0.2”.")
    step = Decimal(found["step"] or 1)
    if step == 0 or last < first:
        raise _refused(kind, f"“{part}” leads nowhere; begin with the smaller number and take a step above 0.")
    count = int((last - first) / step) + 1
    if count > MOST_VALUES:
        raise _refused(kind, f"“{part}” is {count:,} values; the most is {MOST_VALUES}.")
    yield from (first + step * index for index in range(count))


def _check(kind: AxisKind, number: Decimal, limits: NumberLimits) -> None:
    if limits.whole and number != number.to_integral_value():
        raise _refused(kind, f"{number} is not a whole number.")
    if number < limits.least:
        raise _refused(kind, f"{number} is too little; the least is {limits.least}.")
    if number > limits.most:
        raise _refused(kind, f"{number} is too much; the most is {limits.most:,}.")


def _few(kind: AxisKind, values: list[T]) -> list[T]:
    if not values:
        raise _refused(kind, "it has no values yet.")
    if len(values) > MOST_VALUES:
        raise _refused(kind, f"{len(values):,} values are too many; the most is {MOST_VALUES}.")
    return values


def _example(limits: NumberLimits) -> str:
    return "1–4" if limits.whole else "0–1 step 0.2"


def _refused(kind: AxisKind, sentence: str) -> InvalidRequest:
    return InvalidRequest(f"The axis “{AXIS_NAMES[kind]}”: {sentence}")
