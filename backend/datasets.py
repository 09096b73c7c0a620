"""Datasets: pictures and captions in storage, taken in file by file, captioned by content and never by position."""

import time
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pydantic import ValidationError

from backend.base_models import ASSETS
from backend.contract import Dataset, DatasetId, DatasetImage, Message, explain, new_id
from backend.errors import DatasetRejected, InvalidRequest, NotFound
from backend.pictures import (
    Entry,
    Limits,
    Picture,
    Refusal,
    clean_caption,
    decode_caption,
    is_picture,
    prepare_picture,
    read_archive,
    stem_of,
    thumbnail,
)
from backend.storage import DatasetKeys, Storage

SAMPLE_DATASET = ASSETS / "sample_dataset"
SAMPLE_ID: DatasetId = "9999999999999-00000000"  # sorts behind everybody's own


class Captions(Message):
    """The captions of a dataset by the content hash of their pictures: `captions.json`."""

    captions: dict[str, str]


class Upload(NamedTuple):
    """A file somebody sent: what they called it, and where it lies for now."""

    name: str
    path: Path


class Intake(NamedTuple):
    """What came of a batch of uploads."""

    dataset: Dataset
    added: int
    merged: int  # exact copies of pictures that were there
    refused: list[Refusal]


class Datasets:
    """Everything a person can do with datasets."""

    def __init__(self, storage: Storage, limits: Limits) -> None:
        self._bucket = storage.loras
        self._limits = limits

    def create(self, owner: str, name: str) -> Dataset:
        """Make an empty dataset. Raises InvalidRequest for a name that can't be."""
        return self._save(_empty(owner, name))

    def create_from(self, owner: str, name: str, uploads: Iterable[Upload]) -> Intake:
        """Make a dataset of what can be taken of some files; none is made when nothing can."""
        return self._take_in(_empty(owner, name), uploads)

    def sample(self, owner: str) -> Dataset:
        """Return the dataset that comes with the studio, making the owner's copy the first time."""
        try:
            return self.get(owner, SAMPLE_ID)
        except NotFound:
            empty = Dataset(id=SAMPLE_ID, name="Zorbot (sample)", owner=owner, created_at=time.time(), images=[])
            files = sorted(path for path in SAMPLE_DATASET.iterdir() if path.suffix in (".png", ".txt"))
            return self._take_in(empty, [Upload(path.name, path) for path in files]).dataset

    def get(self, owner: str, dataset_id: DatasetId) -> Dataset:
        """Return a dataset with its captions. Raises NotFound."""
        keys = DatasetKeys(owner, dataset_id)
        record = self._bucket.find_message(keys.record, Dataset)
        if record is None:
            raise NotFound("This dataset is not there any more.", "Choose another one.")
        captions = self._captions(keys)
        images = [image.model_copy(update={"caption": captions.get(image.sha256, "")}) for image in record.images]
        return record.model_copy(update={"images": images})

    def of_owner(self, owner: str) -> list[Dataset]:
        """Return the owner's datasets without captions, newest first; one that was never finished is left out."""
        prefix = f"datasets/{owner}/"
        found = (
            self._bucket.find_message(DatasetKeys(owner, name).record, Dataset)
            for name in self._bucket.list_folders(prefix)
        )
        return [dataset for dataset in found if dataset]

    def add(self, owner: str, dataset_id: DatasetId, uploads: Iterable[Upload]) -> Intake:
        """Take pictures, captions and archives in. A bad file is refused by name and the others go on."""
        return self._take_in(self.get(owner, dataset_id), uploads)

    def set_captions(self, owner: str, dataset_id: DatasetId, captions: dict[str, str]) -> None:
        """Change the captions of some pictures, named by content hash."""
        keys = DatasetKeys(owner, dataset_id)
        known = {image.sha256 for image in self._bucket.get_message(keys.record, Dataset).images}
        if unknown := captions.keys() - known:
            raise NotFound(f"There is no picture {next(iter(unknown))[:12]}… in this dataset.", "Reload the page.")
        changed = {sha256: clean_caption(text) for sha256, text in captions.items()}
        self._bucket.put_message(keys.captions, Captions(captions=self._captions(keys) | changed))

    def delete(self, owner: str, dataset_id: DatasetId) -> None:
        """Delete a dataset with its pictures. The record goes first, so a half-deleted one is never shown."""
        keys = DatasetKeys(owner, dataset_id)
        self._bucket.delete([keys.record])
        self._bucket.delete([stored.key for stored in self._bucket.list_all(keys.prefix)])

    def _take_in(self, dataset: Dataset, uploads: Iterable[Upload]) -> Intake:
        intake = _Intake(self._limits, dataset)
        for upload in uploads:
            for picture in intake.read(upload):
                self._store_picture(DatasetKeys(dataset.owner, dataset.id), picture)
        if not intake.images and not dataset.images:
            reasons = "; ".join(f"{refusal.name}: {refusal.reason}" for refusal in intake.refused[:3])
            raise DatasetRejected(f"No picture could be taken. {reasons}".strip(), "Add JPEG, PNG or WebP files.")
        finished = dataset.model_copy(update={"images": [*dataset.images, *intake.captioned_images()]})
        return Intake(self._save(finished), len(intake.images), intake.merged, intake.refused)

    def _store_picture(self, keys: DatasetKeys, picture: Picture) -> None:
        self._bucket.put(keys.image(picture.sha256, picture.suffix), picture.data)
        self._bucket.put(keys.thumb(picture.sha256), thumbnail(picture.data))

    def _captions(self, keys: DatasetKeys) -> dict[str, str]:
        stored = self._bucket.find_message(keys.captions, Captions)
        return dict(stored.captions) if stored else {}

    def _save(self, dataset: Dataset) -> Dataset:
        keys = DatasetKeys(dataset.owner, dataset.id)
        # Taking many files in lasts: what somebody typed meanwhile is newer than what we read before.
        captions = {image.sha256: image.caption for image in dataset.images} | self._captions(keys)
        bare = [image.model_copy(update={"caption": ""}) for image in dataset.images]
        self._bucket.put_message(keys.captions, Captions(captions=captions))
        self._bucket.put_message(keys.record, dataset.model_copy(update={"images": bare}))
        return dataset


def _empty(owner: str, name: str) -> Dataset:
    try:
        return Dataset(id=new_id(), name=name, owner=owner, created_at=time.time(), images=[])
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error


class _Intake:
    """Sorts a batch of files into pictures, captions and refusals, within the limits."""

    def __init__(self, limits: Limits, dataset: Dataset) -> None:
        self._limits = limits
        self._keys = DatasetKeys(dataset.owner, dataset.id)
        self._known = {image.sha256 for image in dataset.images}
        self._room = limits.images - len(dataset.images)
        self._captions: dict[str, str] = {}
        self.images: list[DatasetImage] = []
        self.merged = 0
        self.refused: list[Refusal] = []

    def read(self, upload: Upload) -> Iterable[Picture]:
        """Yield the new pictures in a file: itself, or those in the archive it is."""
        try:
            if PurePosixPath(upload.name).suffix.lower() == ".zip":
                with upload.path.open("rb") as file:
                    for entry in read_archive(file, upload.name, self._limits):
                        yield from self._sort(entry)
            elif upload.path.stat().st_size > self._limits.file_bytes:
                self.refused.append(Refusal(upload.name, f"it is over {self._limits.file_bytes // 2**20} MB"))
            else:
                yield from self._sort(Entry(upload.name, upload.path.read_bytes()))
        except DatasetRejected as error:
            self.refused.append(Refusal(upload.name, str(error)))

    def captioned_images(self) -> list[DatasetImage]:
        """Return the new pictures with the captions that came with them, whichever came first."""
        return [
            image.model_copy(update={"caption": self._captions.get(stem_of(image.name), "")}) for image in self.images
        ]

    def _sort(self, entry: Entry | Refusal) -> Iterable[Picture]:
        if isinstance(entry, Refusal):
            self.refused.append(entry)
        elif PurePosixPath(entry.name).suffix.lower() == ".txt":
            self._captions[stem_of(entry.name)] = decode_caption(entry.data)
        elif not is_picture(entry.name):
            self.refused.append(Refusal(entry.name, "it is neither a picture, a .txt caption nor a .zip"))
        else:
            yield from self._picture(entry)

    def _picture(self, entry: Entry) -> Iterable[Picture]:
        try:
            picture = prepare_picture(entry.data, entry.name, self._limits)
        except DatasetRejected as error:
            self.refused.append(Refusal(entry.name, str(error)))
            return
        if picture.sha256 in self._known:
            self.merged += 1
        elif len(self.images) >= self._room:
            self.refused.append(Refusal(entry.name, f"a dataset takes {self._limits.images:,} pictures"))
        else:
            self._known.add(picture.sha256)
            self.images.append(self._record(picture))
            yield picture

    def _record(self, picture: Picture) -> DatasetImage:
        return DatasetImage(
            key=self._keys.image(picture.sha256, picture.suffix),
            sha256=picture.sha256,
            name=picture.name,
            width=picture.width,
            height=picture.height,
            bytes=len(picture.data),
        )
