"""What a grid will be, before anything is drawn: its axes, its cells, and which place shows which cell."""

import itertools
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import Field

from backend.contract import BaseModelSpec, LoraUse, Message, Prompt, RunId, Seed, StorageKey
from backend.errors import InvalidRequest
from backend.grids.axes import AXIS_NAMES, NUMBERS, AxisKind, few_loras, numbers_in, prompts_in, steps_in
from backend.lora_files import lora_missing
from backend.loras.loras import Loras

MOST_CELLS = 100
NO_LORA = "No LoRA"
_LORA_KINDS: frozenset[AxisKind] = frozenset({"lora", "checkpoint"})


class AxisWish(Message):
    """One thing to vary. What `text` may say depends on the kind; LoRAs are named by their keys."""

    kind: AxisKind
    text: str = Field("", max_length=100_000)
    keys: list[StorageKey] = Field([], max_length=100)
    run_id: RunId | None = None  # whose checkpoints


class GridWish(Message):
    """What a person wants to compare, and what all cells have in common."""

    base_model: str = Field(max_length=64)
    prompt: Prompt = ""
    lora_key: StorageKey | None = None
    strength: float = Field(1.0, ge=-4, le=4)
    width: int | None = None
    height: int | None = None
    seed: Seed | None = None
    steps: int | None = None
    guidance: float | None = None
    axes: list[AxisWish] = Field(min_length=1, max_length=3)  # across, down, and from sheet to sheet
    with_none: bool = False  # a column without any LoRA beside the others


class Axis(Message):
    """One thing that varies, and what each value is called."""

    kind: AxisKind
    labels: list[str]
    run_id: RunId | None = None  # whose checkpoints are compared
    steps: list[int] = Field([])  # of each checkpoint; 0 where there is none


class CellSettings(Message):
    """What sets one cell apart; a LoRA of no strength is none."""

    prompt: Prompt
    seed: Seed
    steps: int | None
    guidance: float | None
    loras: list[LoraUse]


class GridPlan(NamedTuple):
    """A grid that could be drawn. `places` says which cell is where: along the first axis, then the second, the third.

    Cells that would be the same picture are one cell.
    """

    axes: list[Axis]
    cells: list[CellSettings]
    places: list[int]


class _Value(NamedTuple):
    label: str
    change: dict[str, Any]
    step: int = 0  # of a checkpoint


def plan_grid(wish: GridWish, owner: str, spec: BaseModelSpec, loras: Loras, seed: int) -> GridPlan:
    """Return the plan; `seed` is the one for all cells where none is asked for.

    Raises InvalidRequest with the axis, the value and the limit; NotFound for a LoRA that isn't the owner's.
    """
    _check_axes(wish)
    known = _Known(owner, spec, loras)
    values = [_values(axis, wish, known) for axis in wish.axes]
    count = len(list(itertools.product(*values)))
    if count > MOST_CELLS:
        sizes = " × ".join(str(len(axis)) for axis in values)
        raise InvalidRequest(f"{sizes} are {count:,} cells; the most is {MOST_CELLS}.", "Use fewer values.")
    common = {
        "prompt": wish.prompt.strip(), "seed": seed if wish.seed is None else wish.seed, "steps": wish.steps,
        "guidance": wish.guidance, "key": wish.lora_key and known.fitting(wish.lora_key), "strength": wish.strength,
    }  # fmt: skip
    cells: dict[str, CellSettings] = {}
    places: list[int] = []
    for place in itertools.product(*reversed(values)):  # the first axis changes fastest
        cell = _cell(common | {name: value for chosen in place for name, value in chosen.change.items()})
        known_as = cell.model_dump_json()
        cells.setdefault(known_as, cell)
        places.append(list(cells).index(known_as))
    axes = [_axis(axis, found) for axis, found in zip(wish.axes, values, strict=True)]
    return GridPlan(axes, list(cells.values()), places)


def _check_axes(wish: GridWish) -> None:
    kinds = [axis.kind for axis in wish.axes]
    if twice := next((kind for kind in kinds if kinds.count(kind) > 1), None):
        raise InvalidRequest(f"Two axes vary “{AXIS_NAMES[twice]}”. Change one of them.")
    if set(kinds) >= _LORA_KINDS:
        raise InvalidRequest("LoRAs and checkpoints can't both vary: a checkpoint is a LoRA, too.")
    varied = bool(_LORA_KINDS & set(kinds))
    if "strength" in kinds and not varied and not wish.lora_key:
        raise InvalidRequest("The axis “Strength” needs a LoRA: choose one, or vary LoRAs or checkpoints as well.")
    if wish.with_none and not varied and "strength" not in kinds:
        raise InvalidRequest("A column with no LoRA needs LoRAs, checkpoints or strengths that vary.")
    if "prompt" not in kinds and not wish.prompt.strip():
        raise InvalidRequest("Write what you want to see first.")


class _Known:
    """The LoRAs somebody may prompt with."""

    def __init__(self, owner: str, spec: BaseModelSpec, loras: Loras) -> None:
        self._owner, self._spec, self._loras = owner, spec, loras
        self._choices = {choice.key: choice for choice in loras.choices(owner)}

    def fitting(self, key: str) -> str:
        """Return the key of a LoRA that is there and made for this base model."""
        choice = self._choices.get(key)
        if choice is None:
            raise lora_missing(key)
        if choice.architecture != self._spec.architecture:
            raise InvalidRequest(f"“{choice.name}” was made for another base model than {self._spec.name}.")
        return key

    def name(self, key: str) -> str:
        choice = self._choices[self.fitting(key)]
        return f"{choice.name} {choice.detail}".strip()

    def checkpoints(self, run_id: RunId, text: str) -> list[tuple[int, str]]:
        """Return step and key of each checkpoint that `text` asks for."""
        making = self._loras.making(self._owner, run_id)
        if making.spec.architecture != self._spec.architecture:
            raise InvalidRequest(f"“{making.name}” was trained on another base model than {self._spec.name}.")
        keys = {checkpoint.step: checkpoint.key for checkpoint in making.checkpoints}
        return [(step, keys[step]) for step in steps_in(text, keys)]


def _axis(axis: AxisWish, values: list[_Value]) -> Axis:
    named = Axis(kind=axis.kind, labels=[value.label for value in values])
    if axis.kind != "checkpoint":
        return named
    return named.model_copy(update={"run_id": axis.run_id, "steps": [value.step for value in values]})


def _values(axis: AxisWish, wish: GridWish, known: _Known) -> list[_Value]:
    values = _asked(axis, known)
    # One axis carries the picture without a LoRA: the one that chooses LoRAs, where there is one.
    carries = axis.kind in _LORA_KINDS or (
        axis.kind == "strength" and not any(other.kind in _LORA_KINDS for other in wish.axes)
    )
    if wish.with_none and carries:
        return [_Value(NO_LORA, {"strength": 0.0} if axis.kind == "strength" else {"key": None}), *values]
    return values


def _asked(axis: AxisWish, known: _Known) -> list[_Value]:
    if axis.kind == "prompt":
        return [_Value(prompt, {"prompt": prompt}) for prompt in prompts_in(axis.text)]
    if axis.kind == "lora":
        return [_Value(known.name(key), {"key": key}) for key in few_loras(list(axis.keys))]
    if axis.kind == "checkpoint":
        if axis.run_id is None:
            raise InvalidRequest("The axis “Checkpoint”: choose a run whose checkpoints to compare.")
        return [_Value(f"Step {step:,}", {"key": key}, step) for step, key in known.checkpoints(axis.run_id, axis.text)]
    whole = NUMBERS[axis.kind].whole
    return [
        _Value(_shown(axis.kind, number), {axis.kind: int(number) if whole else float(number)})
        for number in numbers_in(axis.kind, axis.text)
    ]


def _shown(kind: AxisKind, number: Decimal) -> str:
    return f"{AXIS_NAMES[kind]} {number.normalize():f}"


def _cell(settings: dict[str, Any]) -> CellSettings:
    key, strength = settings.pop("key"), settings.pop("strength")
    return CellSettings(**settings, loras=[LoraUse(key=key, strength=strength)] if key and strength else [])
