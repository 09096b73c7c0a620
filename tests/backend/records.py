"""Records of pictures that nobody drew."""

import time
from typing import Any

from backend.contract import ImageRecord, LoraUse, new_id, reverse_ms
from backend.keys import ImageKeys
from backend.storage import Storage


def record_of(owner: str, prompt: str = "a zorbot", *, age_s: float = 0, **changes: Any) -> ImageRecord:
    """The record of a picture as the worker would leave it."""
    number = new_id().split("-")[1]
    keys = ImageKeys(owner, f"{reverse_ms(time.time() - age_s)}-{number}-0")
    made: dict[str, Any] = {
        "id": keys.image_id, "owner": owner, "run_id": f"image-{keys.image_id[:-2]}", "key": keys.image,
        "thumb_key": keys.thumb, "prompt": prompt, "base_model": "tiny-flux", "width": 160, "height": 112, "steps": 12,
        "guidance": 2.5, "seed": 7, "created_at": time.time() - age_s,
    }  # fmt: skip
    return ImageRecord.model_validate(made | changes)


def store(storage: Storage, *records: ImageRecord) -> None:
    """Put records into storage, with something for their pictures."""
    for record in records:
        storage.outputs.put(record.key, b"a picture")
        storage.outputs.put(record.thumb_key, b"its thumbnail")
        storage.outputs.put_message(ImageKeys(record.owner, record.id).record, record)


def uses(*keys: str) -> list[LoraUse]:
    return [LoraUse(key=key) for key in keys]
