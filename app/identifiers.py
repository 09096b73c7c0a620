"""Identifiers from outside, checked before they become part of a key in storage."""

from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from backend.contract import DatasetId, ImageId, LoraId, RunId
from backend.errors import InvalidRequest, NotFound
from backend.grids.record import GridId

T = TypeVar("T")

_MAX_FILE_NAME = 500  # characters, folders included

_DATASET: TypeAdapter[str] = TypeAdapter(DatasetId)
_RUN: TypeAdapter[str] = TypeAdapter(RunId)
_IMAGE: TypeAdapter[str] = TypeAdapter(ImageId)
_RESOLUTIONS: TypeAdapter[list[int]] = TypeAdapter(
    Annotated[list[Annotated[int, Field(ge=64, le=2048)]], Field(max_length=6)]
)
_LORA: TypeAdapter[str] = TypeAdapter(LoraId)
_GRID: TypeAdapter[str] = TypeAdapter(GridId)
_SHEET: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0, le=1000)])
_STEP: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=-1, le=10**9)])


def dataset_id_in(value: object) -> DatasetId:
    """Return a dataset's id. This and the others raise NotFound for what can't be one."""
    return _checked(_DATASET, value, "dataset")


def run_id_in(value: object) -> RunId:
    return _checked(_RUN, value, "run")


def image_id_in(value: object) -> ImageId:
    return _checked(_IMAGE, value, "picture")


def lora_id_in(value: object) -> LoraId:
    return _checked(_LORA, value, "LoRA")


def grid_id_in(value: object) -> GridId:
    return _checked(_GRID, value, "grid")


def sheet_in(value: object) -> int:
    return _checked(_SHEET, value, "sheet")


def step_in(value: object) -> int:
    return _checked(_STEP, value, "step")


def resolutions_in(value: str) -> list[int]:
    """Return the pixels in '512,768'; none in ''."""
    return _checked(_RESOLUTIONS, value.split(",") if value else [], "resolution")


def file_name_in(value: str) -> str:
    """Return what a sent file is called, with the folders it lay in. Raises InvalidRequest for what leads elsewhere."""
    name = value.replace("\\", "/").strip("/ ")
    if not name or len(name) > _MAX_FILE_NAME or ".." in name.split("/") or not name.isprintable():
        raise InvalidRequest("This file's name can't be used.", "Rename it and send it again.")
    return name


def _checked(adapter: TypeAdapter[T], value: object, what: str) -> T:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise NotFound(f"There is no such {what}.", "Check the address, or reload the page.") from error
