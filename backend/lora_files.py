"""LoRA files on a disk: the header of a .safetensors file, read without its tensors, and nothing in it trusted."""

import json
import math
import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from backend.errors import LoraRejected, NotFound

MAX_HEADER_BYTES = 25 * 2**20
_LORA_TENSOR = re.compile(r"(lora_[AB]|lora_down|lora_up|lora\.down|lora\.up)(\.|$)")
_DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


class Tensor(TypedDict):
    """One tensor, as the header declares it."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]  # bytes behind the header: the first, and the one behind the last


class LoraHeader(NamedTuple):
    """What a file says of itself."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    data_at: int  # bytes from the file's beginning to its tensors


_TENSORS = TypeAdapter(dict[str, Tensor])
_METADATA = TypeAdapter(dict[str, str])


def lora_missing(key: str) -> NotFound:
    """Return what to raise for a LoRA that isn't at its key, naming it as a person knows it."""
    name = PurePosixPath(key).stem
    return NotFound(f"The LoRA “{name}” is not in storage.", "It may have been deleted; choose another one.")


def read_header(path: Path, name: str) -> LoraHeader:
    """Return the header of a whole .safetensors file. Raises LoraRejected, with `name`, for anything else."""
    try:
        return _read(path)
    except (ValueError, RecursionError, OSError) as error:
        why = "its header can't be read" if isinstance(error, (ValidationError, json.JSONDecodeError)) else error
        raise LoraRejected(
            f"The LoRA '{name}' is damaged, cut short or not a .safetensors file ({why}).",
            "Download it again from its source.",
        ) from error


def check_is_lora(path: Path, name: str) -> LoraHeader:
    """Return the header of a whole .safetensors file with LoRA layers in it. Raises LoraRejected for anything else."""
    header = read_header(path, name)
    if not any(_LORA_TENSOR.search(tensor) for tensor in header.tensors):
        count, first = len(header.tensors), next(iter(header.tensors), "")
        holds = f"{count} tensors such as '{first[:80]}'" if count else "no tensors"
        raise LoraRejected(f"'{name}' is not a LoRA: it holds {holds}.", "Choose a LoRA file.")
    return header


def _read(path: Path) -> LoraHeader:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise ValueError("its header doesn't fit into it")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"its header is over {MAX_HEADER_BYTES // 2**20} MB")
        declared: Any = json.loads(file.read(length))
    if not isinstance(declared, dict):
        raise ValueError("its header is no object")
    metadata = _METADATA.validate_python(declared.pop("__metadata__", {}))
    tensors = _TENSORS.validate_python(declared)
    _check_layout(tensors, size - 8 - length)
    return LoraHeader(tensors, metadata, 8 + length)


def _check_layout(tensors: dict[str, Tensor], data_bytes: int) -> None:
    """Tensors lie one behind the other, without a gap, and end with the file."""
    end = 0
    for tensor in sorted(tensors.values(), key=lambda each: each["data_offsets"]):
        first, behind = tensor["data_offsets"]
        if first != end or behind < first or min(tensor["shape"], default=0) < 0:
            raise ValueError("its tensors overlap or leave gaps")
        bits = _DTYPE_BITS.get(tensor["dtype"])
        if bits and math.prod(tensor["shape"]) * bits != (behind - first) * 8:
            raise ValueError("a tensor's size is not its shape's")
        end = behind
    if end != data_bytes:
        raise ValueError(f"{end:,} bytes of tensors were expected, {data_bytes:,} are there")
