"""What is kept: datasets, LoRAs and pictures, as their records in storage tell of them."""

from typing import Annotated

from pydantic import Field

from backend.contract.names import BaseModelId, DatasetId, Message, Name, Owner, RunId, Seed, Sha256, StorageKey
from backend.contract.requests import LoraUse


class DatasetImage(Message):
    """One picture: stored as `key`, shown and captioned by its content hash, never by position."""

    key: StorageKey
    sha256: Sha256
    name: str  # what the person's file was called
    width: int
    height: int
    bytes: int
    caption: str = ""
    # What the check-up goes by: how steep its edges are (0 to 1), and what it looks like in 256 bits.
    sharpness: float | None = None
    fingerprint: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


class Dataset(Message):
    """Pictures with their captions, as one run or one screen sees them."""

    id: DatasetId
    name: Name
    owner: Owner
    created_at: float
    images: list[DatasetImage]


class LoraRecord(Message):
    """A LoRA anyone can prompt with: `lora.json`, written after its file."""

    id: str
    owner: Owner
    name: Name
    key: StorageKey
    sha256: Sha256
    bytes: int
    base_model: BaseModelId
    architecture: str
    trigger_word: str = ""
    thumb_key: StorageKey | None = None
    run_id: RunId | None = None
    rank: int | None = None
    steps: int | None = None
    created_at: float


class LoraLabel(Message):
    """What a person says of a LoRA: `label.json`, written by the app alone."""

    name: Name | None = None  # None: as the record has it
    note: Annotated[str, Field(max_length=4000)] = ""
    tags: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field([], max_length=20)
    thumb_key: StorageKey | None = None
    published: Annotated[str, Field(max_length=500)] = ""  # where on the Hugging Face Hub


class ImageRecord(Message):
    """Everything needed to make one picture again: `records/….json`, written after the picture and its thumbnail."""

    id: str
    owner: Owner
    run_id: RunId
    key: StorageKey
    thumb_key: StorageKey
    prompt: str
    prompt_template: str = ""  # as it was written, where wildcards were worked out in it
    negative_prompt: str = ""
    base_model: BaseModelId
    loras: list[LoraUse] = []
    width: int
    height: int
    steps: int
    guidance: float
    seed: Seed
    init_image: StorageKey | None = None  # the picture it started from
    denoise: float | None = None
    created_at: float
