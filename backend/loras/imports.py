"""LoRA files from elsewhere: what they say of themselves, in the words of the trainers that made them."""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from backend.contract import BaseModelSpec, Name
from backend.errors import DatasetRejected, InvalidRequest
from backend.lora_files import check_is_lora
from backend.loras.families import base_model_of, rank_of
from backend.pictures import Limits, prepare_and_decode, thumbnail_of

_MAX_TRIGGER = 100  # characters
_MAX_STEPS = 10**7
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_FOLDER = re.compile(r"^\d+_(?P<words>.+)$")  # sd-scripts reads how often from the folder's name


class Described(NamedTuple):
    """A LoRA file that was looked at."""

    name: str
    base_model: BaseModelSpec
    trigger_word: str
    rank: int | None
    steps: int | None
    thumb: bytes | None  # WebP


def describe_file(path: Path, file_name: str, specs: Iterable[BaseModelSpec], limits: Limits) -> Described:
    """Return what a file is. Raises LoraRejected with its name for one that can't be prompted with here."""
    if not file_name.lower().endswith(".safetensors"):
        raise InvalidRequest(f"{file_name} isn't a .safetensors file.", "Import a LoRA in that format.")
    stem = file_name[: -len(".safetensors")].rpartition("/")[2]
    header = check_is_lora(path, stem)
    return Described(
        name=name_in(header.metadata, stem),
        base_model=base_model_of(header, specs, stem),
        trigger_word=trigger_in(header.metadata),
        rank=rank_of(header),
        steps=steps_in(header.metadata),
        thumb=_thumb_in(header.metadata, limits),
    )


def name_in(said: Mapping[str, str], stem: str) -> str:
    """Return what a file calls itself, else its own name; characters that a name can't have are left out."""
    for words in (said.get("modelspec.title"), said.get("ss_output_name"), said.get("name"), stem):
        cleaned = re.sub(r'[/\\<>:"|?*\x00-\x1f\x7f]+', " ", words or "")
        try:
            return _NAME.validate_python(" ".join(cleaned.split())[:80])
        except ValidationError:
            continue
    return "Imported LoRA"


def trigger_in(said: Mapping[str, str]) -> str:
    """Return the trigger word: ModelSpec's, else what sd-scripts or ai-toolkit note of their dataset; '' if none."""
    plain = (said.get(key, "") for key in ("modelspec.trigger_phrase", "trigger_word", "trigger_phrase", "trigger"))
    return next((word for words in (*plain, *_classes(said)) if (word := _as_trigger(words))), "")


def steps_in(said: Mapping[str, str]) -> int | None:
    """Return how many steps it was trained for, if it says so."""
    training = _json(said.get("training_info"))
    for value in (said.get("ss_steps"), training.get("step") if isinstance(training, dict) else None):
        text = str(value)
        if text.isascii() and text.isdigit() and len(text) < 9 and int(text) <= _MAX_STEPS:
            return int(text)
    return None


def _classes(said: Mapping[str, str]) -> Iterable[str]:
    datasets = _json(said.get("ss_datasets"))
    for dataset in datasets if isinstance(datasets, list) else []:
        subsets = dataset.get("subsets") if isinstance(dataset, dict) else None
        for subset in subsets if isinstance(subsets, list) else []:
            if isinstance(subset, dict):
                yield str(subset.get("class_tokens") or "")
    # ai-toolkit puts the trigger word where other tools look for how often each tag was seen.
    for key in ("ss_dataset_dirs", "ss_tag_frequency"):
        folders = _json(said.get(key))
        for folder in folders if isinstance(folders, dict) else ():
            if named := _FOLDER.match(folder):
                yield named["words"]


def _as_trigger(words: str) -> str:
    text = "".join(character if character.isprintable() else " " for character in words)
    return " ".join(text.split())[:_MAX_TRIGGER].strip()


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def _thumb_in(said: Mapping[str, str], limits: Limits) -> bytes | None:
    """Return the picture a file brings along, checked and made anew."""
    kind, _, encoded = said.get("modelspec.thumbnail", "").partition(";base64,")
    if not kind.startswith("data:image/"):
        return None
    try:
        _, image = prepare_and_decode(base64.b64decode(encoded), "the thumbnail", limits)
    except (DatasetRejected, ValueError):
        return None
    return thumbnail_of(image)
