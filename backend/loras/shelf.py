"""How LoRAs are stored and listed: `lora.json` makes one, `label.json` beside it holds what a person changed.

Two apps on one bucket agree: every listing asks storage what there is, and reads again only what has another etag.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

from backend.contract import DatasetId, LoraId, LoraLabel, LoraRecord, Message, Name, RunId
from backend.errors import NotFound, StorageError
from backend.keys import LoraKeys, RunKeys
from backend.storage import Bucket, Stored, at_once

_KEPT = 20_000  # messages in memory, of all owners together
_ATTEMPTS = 8  # to change a label that others change, too

M = TypeVar("M", bound=Message)


class DatasetName(Message):
    """A dataset as its LoRA knows it; the rest of what was stored with the run is left out."""

    id: DatasetId
    name: Name


class Lora(NamedTuple):
    """A LoRA as a person knows it."""

    record: LoraRecord
    label: LoraLabel
    dataset: DatasetName | None

    @property
    def keys(self) -> LoraKeys:
        return LoraKeys(self.record.owner, self.record.id)

    @property
    def name(self) -> str:
        return self.label.name or self.record.name

    @property
    def thumb_key(self) -> str | None:
        return self.label.thumb_key or self.record.thumb_key


class LoraShelf:
    """Reads LoRAs, and changes their labels."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._read: OrderedDict[tuple[str, str], Message | None] = OrderedDict()  # by key and etag
        self._lock = threading.Lock()

    def all(self, owner: str) -> list[Lora]:
        """Return the owner's LoRAs, newest first."""
        stored = {each.key: each for each in self._bucket.list_all(f"loras/{owner}/")}
        ids = [PurePosixPath(key).parts[2] for key in stored if key.endswith("/lora.json")]
        all_keys = [LoraKeys(owner, lora_id) for lora_id in ids]
        new = [keys.lora_id for keys in all_keys if self._is_new(keys, stored)]
        at_once(lambda lora_id: self._listed(LoraKeys(owner, lora_id), stored), new)
        found = [self._listed(keys, stored) for keys in all_keys]
        return sorted((lora for lora in found if lora), key=lambda lora: lora.record.created_at, reverse=True)

    def one(self, owner: str, lora_id: LoraId) -> Lora:
        """Return a LoRA as it is now. Raises NotFound."""
        keys = LoraKeys(owner, lora_id)
        record = self._bucket.find_message(keys.record, LoraRecord)
        if record is None:
            raise NotFound("This LoRA no longer exists.", "It may have been deleted elsewhere.")
        label = self._bucket.find_message(keys.label, LoraLabel) or LoraLabel()
        return Lora(record, label, self._dataset(owner, record.run_id))

    def change_label(self, keys: LoraKeys, change: Callable[[LoraLabel], LoraLabel]) -> None:
        """Change a label. What somebody else changes meanwhile is kept: ours goes on top."""
        for attempt in range(_ATTEMPTS):
            try:
                now, tag = self._bucket.get_tagged(keys.label, LoraLabel)
            except NotFound:
                now, tag = LoraLabel(), ""
            data = change(now).model_dump_json().encode()
            if self._bucket.put(keys.label, data, if_absent=not tag, if_unchanged=tag):
                return
            time.sleep(0.02 * 2**attempt)
        raise StorageError("This LoRA keeps being changed from elsewhere.", "Try again in a minute.")

    def _is_new(self, keys: LoraKeys, stored: dict[str, Stored]) -> bool:
        return any((key, stored[key].etag) not in self._read for key in (keys.record, keys.label) if key in stored)

    def _listed(self, keys: LoraKeys, stored: dict[str, Stored]) -> Lora | None:
        record = self._message(keys.record, stored[keys.record].etag, LoraRecord)
        if record is None:
            return None  # deleted while we looked
        label = self._message(keys.label, stored[keys.label].etag, LoraLabel) if keys.label in stored else None
        return Lora(record, label or LoraLabel(), self._dataset(keys.owner, record.run_id))

    def _dataset(self, owner: str, run_id: RunId | None) -> DatasetName | None:
        """The dataset as the run used it, which never changes; None for a run that was sent an archive."""
        return self._message(RunKeys(owner, run_id).dataset, "", DatasetName) if run_id else None

    def _message(self, key: str, etag: str, kind: type[M]) -> M | None:
        with self._lock:
            if (key, etag) in self._read:
                self._read.move_to_end((key, etag))
                return self._read[key, etag]  # type: ignore[return-value] # of the kind that its key says
        message = self._bucket.find_message(key, kind)
        with self._lock:
            if message or not etag:
                self._read[key, etag] = message
            if len(self._read) > _KEPT:
                self._read.popitem(last=False)
        return message
