"""Datasets: what a person can do with pictures and their captions, which go by content and never by position."""

import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from pydantic import ValidationError

from backend.base_models import ASSETS
from backend.contract import Dataset, DatasetId, DatasetImage, explain, new_id
from backend.datasets.archive import archive_of
from backend.datasets.intake import Reader, Seen, Texts, Upload
from backend.datasets.store import Arrival, Captions, DatasetStore, Known
from backend.errors import InvalidRequest, LimitReached, NotFound
from backend.keys import DatasetKeys, RunKeys
from backend.pictures import Limits, Refusal, clean_caption
from backend.storage import Storage, at_once
from backend.usage.limits import UsageLimits

SAMPLE_DATASET = ASSETS / "sample_dataset"
SAMPLE_ID: DatasetId = "9999999999999-00000000"  # sorts behind everybody's own
_LOOKED_S = 1.0  # how old what an upload knows of its dataset may be


class Intake(NamedTuple):
    """What came of an upload."""

    added: int
    merged: int  # exact copies of pictures that were there
    captions: int
    refused: list[Refusal]


class Removal(NamedTuple):
    """What deleting a dataset would remove."""

    pictures: int
    bytes: int
    runs: int  # trainings that used it; what they used stays for them


class Datasets:
    """Everything a person can do with datasets."""

    def __init__(self, storage: Storage, limits: Limits, usage: UsageLimits | None = None) -> None:
        self._bucket = storage.loras
        self._store = DatasetStore(storage.loras)
        self._limits = limits
        self._usage = usage  # None: nobody counts
        self._reader = Reader(limits)

    def create(self, owner: str, name: str) -> Dataset:
        """Make an empty dataset. Raises InvalidRequest for a name that can't be, LimitReached for one too many."""
        empty = _empty(owner, name)
        if self._usage:
            self._usage.check_storage(owner, 0)
            self._usage.note_stored(owner, 0)
        return self._store.create(empty)

    def sample(self, owner: str) -> Dataset:
        """Return the dataset that comes with the studio, making the owner's copy the first time."""
        try:
            return self.get(owner, SAMPLE_ID)
        except NotFound:
            empty = Dataset(id=SAMPLE_ID, name="Zorbot (sample)", owner=owner, created_at=time.time(), images=[])
            for path in sorted(SAMPLE_DATASET.iterdir()):
                if path.suffix in (".png", ".txt"):
                    self._take_in(Known(empty, set()), Upload(path.name, path))
            self._store.create(empty)
            return self.get(owner, SAMPLE_ID)

    def get(self, owner: str, dataset_id: DatasetId) -> Dataset:
        """Return a dataset with its captions. Raises NotFound."""
        keys = DatasetKeys(owner, dataset_id)
        self._store.settle(keys)
        record, captions = self._store.record(keys), self._store.captions(keys)
        images = [image.model_copy(update={"caption": captions.get(image.sha256, "")}) for image in record.images]
        return record.model_copy(update={"images": images})

    def of_owner(self, owner: str) -> list[Dataset]:
        """Return the owner's datasets without captions, newest first; one that was never finished is left out."""
        names = self._bucket.list_folders(f"datasets/{owner}/")
        found = at_once(lambda name: self._bucket.find_message(DatasetKeys(owner, name).record, Dataset), names)
        return [dataset for dataset in found if dataset]

    def add(self, owner: str, dataset_id: DatasetId, upload: Upload) -> Intake:
        """Take a picture, captions or an archive in. What is bad of it is refused by name and the rest goes on.

        Safe to call for many files at once, and again for one that may have been taken already.
        """
        keys = DatasetKeys(owner, dataset_id)
        if self._usage:
            self._usage.check_storage(owner, upload.path.stat().st_size)
        return self._take_in(self._store.known(keys, at_most_s=_LOOKED_S), upload)

    def set_captions(self, owner: str, dataset_id: DatasetId, captions: dict[str, str]) -> None:
        """Change the captions of some pictures, named by content hash."""
        keys = DatasetKeys(owner, dataset_id)
        known = {image.sha256 for image in self._store.record(keys).images}
        if unknown := captions.keys() - known:
            raise NotFound(f"There is no picture {next(iter(unknown))[:12]}… in this dataset.", "Reload the page.")
        changed = {sha256: clean_caption(text) for sha256, text in captions.items()}
        self._store.change(
            keys.captions, Captions, lambda now: now.model_copy(update={"captions": now.captions | changed})
        )

    def caption_if_empty(self, owner: str, dataset_id: DatasetId, picture: str, caption: str) -> str:
        """Give a picture this caption unless it has one by now, and return what it has."""
        keys = DatasetKeys(owner, dataset_id)

        def fill(now: Captions) -> Captions:
            kept = now.captions.get(picture, "").strip()
            return now if kept else now.model_copy(update={"captions": now.captions | {picture: caption}})

        return self._store.change(keys.captions, Captions, fill).captions[picture]

    def picture(self, owner: str, dataset_id: DatasetId, picture: str) -> bytes:
        """Return a picture's file as it is trained on. Raises NotFound."""
        images = self._store.record(DatasetKeys(owner, dataset_id)).images
        found = next((image for image in images if image.sha256 == picture), None)
        if found is None:
            raise NotFound("This picture is not in the dataset any more.", "Reload the page.")
        return self._bucket.get(found.key)

    def rename(self, owner: str, dataset_id: DatasetId, name: str) -> None:
        """Call a dataset something else. Raises InvalidRequest for a name that can't be."""
        checked = _empty(owner, name).name
        self._store.change(
            DatasetKeys(owner, dataset_id).record, Dataset, lambda now: now.model_copy(update={"name": checked})
        )

    def duplicate(self, owner: str, dataset_id: DatasetId) -> Dataset:
        """Return a copy of a dataset, its pictures copied, too: what is done to one never touches the other."""
        original = self.get(owner, dataset_id)
        if self._usage:
            self._usage.check_storage(owner, sum(image.bytes for image in original.images))
        copy = _empty(owner, f"{original.name[:70].strip()} (copy)")
        source, target = DatasetKeys(owner, original.id), DatasetKeys(owner, copy.id)
        images = [
            image.model_copy(update={"key": target.image(image.sha256, PurePosixPath(image.key).suffix)})
            for image in original.images
        ]
        copies = {before.key: after.key for before, after in zip(original.images, images, strict=True)}
        copies |= {source.thumb(image.sha256): target.thumb(image.sha256) for image in images}
        at_once(lambda key: self._bucket.copy(key, copies[key]), list(copies))
        if self._usage:
            for image in images:
                self._usage.note_stored(owner, image.bytes)
        return self._store.create(copy.model_copy(update={"images": images}))

    def remove(self, owner: str, dataset_id: DatasetId, pictures: set[str]) -> None:
        """Take pictures, named by content hash, out of a dataset. Trainings that used them keep them."""
        keys = DatasetKeys(owner, dataset_id)
        dataset = self.get(owner, dataset_id)
        self._store.change(
            keys.record,
            Dataset,
            lambda now: now.model_copy(
                update={"images": [image for image in now.images if image.sha256 not in pictures]}
            ),
        )
        self._store.change(keys.captions, Captions, lambda now: _without(now, pictures))
        gone = [image for image in dataset.images if image.sha256 in pictures]
        kept = self._used_by_runs(keys)[0]
        self._bucket.delete([key for image in gone if image.key not in kept for key in _objects(keys, image)])

    def removal(self, owner: str, dataset_id: DatasetId) -> Removal:
        """Return what `delete` would remove. Raises NotFound."""
        dataset = self.get(owner, dataset_id)
        runs = self._used_by_runs(DatasetKeys(owner, dataset_id))[1]
        return Removal(len(dataset.images), sum(image.bytes for image in dataset.images), runs)

    def delete(self, owner: str, dataset_id: DatasetId) -> None:
        """Delete a dataset but for the pictures that trainings used: those can be resumed and run again.

        The record goes first, so a half-deleted dataset is never shown.
        """
        keys = DatasetKeys(owner, dataset_id)
        self._bucket.delete([keys.record])
        self._store.forget(keys)
        kept = self._used_by_runs(keys)[0]
        hashes = {PurePosixPath(key).stem for key in kept}
        stored = (each.key for each in self._bucket.list_all(keys.prefix))
        self._bucket.delete([key for key in stored if key not in kept and PurePosixPath(key).stem not in hashes])

    def restore(self, used: Dataset) -> Dataset:
        """Make a deleted dataset again, as a training used it: its pictures were kept for that."""
        self._store.create(used)
        self.set_captions(used.owner, used.id, {image.sha256: image.caption for image in used.images})
        return self.get(used.owner, used.id)

    def download(self, owner: str, dataset_id: DatasetId) -> tuple[str, Iterator[bytes]]:
        """Return a file name, and a ZIP of the pictures as they are trained on with their captions as .txt files."""
        dataset = self.get(owner, dataset_id)
        return f"{dataset.name}.zip", archive_of(dataset, lambda image: self._bucket.get(image.key))

    def _take_in(self, known: Known, upload: Upload) -> Intake:
        dataset, there = known.record, set(known.pictures)
        keys = DatasetKeys(dataset.owner, dataset.id)
        room = self._limits.total_bytes - sum(image.bytes for image in dataset.images)
        added = merged = captions = 0
        refused: list[Refusal] = []
        for found in self._reader.read(upload):
            match found:
                case Refusal():
                    refused.append(found)
                case Texts():
                    captions += len(found.captions)
                    self._store.arrive(keys, Arrival(captions=found.captions))
                case Seen() if found.picture.sha256 in there and self._is_there(keys, found.picture.sha256):
                    merged += 1
                case Seen() if len(there) >= self._limits.images:
                    refused.append(Refusal(found.picture.name, f"a dataset takes {self._limits.images:,} pictures"))
                case Seen() if len(found.picture.data) > room:
                    full = f"a dataset takes {self._limits.total_bytes // 2**20:,} MB"
                    refused.append(Refusal(found.picture.name, full))
                case Seen() if used_up := self._used_up(keys.owner, found):
                    refused.append(Refusal(found.picture.name, used_up))
                case Seen():
                    self._store_picture(keys, found)
                    there.add(found.picture.sha256)
                    room -= len(found.picture.data)
                    added += 1
        return Intake(added, merged, captions, refused)

    def _used_up(self, owner: str, seen: Seen) -> str:
        """Return why somebody may not store a picture; '' when they may. A small archive can hold large ones."""
        try:
            if self._usage:
                self._usage.check_storage(owner, len(seen.picture.data))
        except LimitReached as error:
            return str(error)
        return ""

    def _is_there(self, keys: DatasetKeys, sha256: str) -> bool:
        """Whether a picture is in the dataset now: it may have been removed since this was last looked at."""
        return sha256 in self._store.known(keys).pictures

    def _store_picture(self, keys: DatasetKeys, seen: Seen) -> None:
        picture = seen.picture
        image = DatasetImage(
            key=keys.image(picture.sha256, picture.suffix),
            sha256=picture.sha256,
            name=picture.name,
            width=picture.width,
            height=picture.height,
            bytes=len(picture.data),
            sharpness=seen.sharpness,
            fingerprint=seen.fingerprint,
        )
        self._bucket.put(image.key, picture.data)
        if self._usage:
            self._usage.note_stored(keys.owner, len(picture.data))
        self._bucket.put(keys.thumb(picture.sha256), seen.thumb)
        self._store.arrive(keys, Arrival(image=image))

    def _used_by_runs(self, keys: DatasetKeys) -> tuple[set[str], int]:
        """The keys of this dataset's pictures that trainings used, and how many trainings did."""
        prefix, after = f"runs/{keys.owner}/train-", ""
        used: list[Dataset] = []
        while names := self._bucket.list_folders(prefix, after=after):
            found = at_once(lambda name: self._bucket.find_message(RunKeys(keys.owner, name).dataset, Dataset), names)
            used += [dataset for dataset in found if dataset and dataset.id == keys.dataset_id]
            after = f"runs/{keys.owner}/{names[-1]}/~"
        return {image.key for dataset in used for image in dataset.images}, len(used)


def _empty(owner: str, name: str) -> Dataset:
    try:
        return Dataset(id=new_id(), name=name, owner=owner, created_at=time.time(), images=[])
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error


def _without(captions: Captions, pictures: set[str]) -> Captions:
    left = {sha256: text for sha256, text in captions.captions.items() if sha256 not in pictures}
    return captions.model_copy(update={"captions": left})


def _objects(keys: DatasetKeys, image: DatasetImage) -> list[str]:
    return [image.key, keys.thumb(image.sha256)]
