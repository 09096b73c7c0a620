"""What messages are made of: names, ids, keys and their limits, and the message itself."""

import re
import secrets
import time
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_SEED = 2**64 - 1
MAX_NAME = 80  # characters
MAX_PROMPT = 4000  # characters
_REVERSE_FROM = 10**13 - 1  # 13 digits of milliseconds counted down: newest first in a listing


class Message(BaseModel):
    """A frozen message that refuses unknown fields, NaN and infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _check_name(name: str) -> str:
    name = " ".join(name.split())
    if not any(character.isprintable() for character in name.replace(" ", "")):
        raise ValueError("is empty; give it a name")
    if len(name) > MAX_NAME:
        raise ValueError(f"has {len(name)} characters; use at most {MAX_NAME}")
    if bad := re.search(r'[/\\<>:"|?*\x00-\x1f\x7f]', name):
        raise ValueError(f"contains {bad.group()!r}; leave that character out")
    if set(name) <= {"."}:
        raise ValueError("is only dots; give it a name")
    return name


def file_stem(name: str) -> str:
    """Return `name` as letters, digits, '-' and '_', safe on every file system; 'lora' if none is left."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:64] or "lora"


Name = Annotated[str, AfterValidator(_check_name)]
Owner = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
BaseModelId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
RunId = Annotated[str, Field(pattern=r"^(train|image)-[0-9]{13}-[0-9a-f]{8}$")]
ImageId = Annotated[str, Field(pattern=r"^[0-9]{13}-[0-9a-f]{8}-[0-9]{1,2}$")]
# A LoRA is called after the run it came from, a promoted checkpoint with its step, an imported file by its content.
LoraId = Annotated[str, Field(pattern=r"^(train-[0-9]{13}-[0-9a-f]{8}(-[0-9]{1,9})?|import-[0-9a-f]{32})$")]
DatasetId = Annotated[str, Field(pattern=r"^[0-9]{13}-[0-9a-f]{8}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
StorageKey = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^/\x00-\x1f][^\x00-\x1f]*$")]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
# How much of a picture that one starts from is drawn anew. Far less would mean a schedule of a million steps.
Denoise = Annotated[float, Field(ge=0.01, le=1)]
RunKind = Literal["train", "image"]
Wish = Literal["save", "sample"]  # what a person may ask of a training in between
OutputFormat = Literal["png", "jpeg", "webp"]


def reverse_ms(seconds: float | None = None) -> str:
    """Return a time (now, if not given) as 13 digits that sort newest first."""
    return f"{_REVERSE_FROM - int((time.time() if seconds is None else seconds) * 1000):013d}"


def new_id() -> str:
    """Return a fresh dataset id; ids sort newest first."""
    return f"{reverse_ms()}-{secrets.token_hex(4)}"


def new_run_id(kind: RunKind) -> str:
    """Return a fresh run id, chosen before anything is submitted so that a crash in between loses nothing."""
    return f"{kind}-{new_id()}"


def created_at(identifier: str) -> float:
    """Return the time in an id made by `new_id` or `new_run_id`, in seconds since 1970."""
    return (_REVERSE_FROM - int(identifier.split("-")[-2])) / 1000
