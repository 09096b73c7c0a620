"""How a dataset is stored, so that many can change it at once, through several apps, and nothing is lost.

What comes in lies beside the record as an arrival of its own; whoever next reads the dataset puts it into the record.
Every step can be done twice, and a message is only ever replaced by a change of what it is at that moment.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

from backend.contract import Dataset, DatasetImage, Message, new_id
from backend.errors import NotFound, StorageError
from backend.keys import DatasetKeys
from backend.pictures import stem_of
from backend.storage import Bucket, Stored, at_once

_ATTEMPTS = 12  # to change what others change, too: ten seconds
_REMEMBERED = 16  # records
_SETTLED_FROM = 50  # arrivals; more would make every further one slower
_FIRST_PAUSE_S = 0.02
_TEXTS = "captions-"  # how the arrivals without a picture begin

M = TypeVar("M", bound=Message)


class Captions(Message):
    """The captions of a dataset by the content hash of their pictures: `captions.json`."""

    captions: dict[str, str]
    unclaimed: dict[str, str] | None = None  # by stem: their pictures have not come, or had a caption


class Arrival(Message):
    """What came and is not in the record yet: a picture, or captions by the stem of theirs."""

    image: DatasetImage | None = None
    captions: dict[str, str] | None = None


class Known(NamedTuple):
    """What a dataset has, as an upload goes by it."""

    record: Dataset
    pictures: set[str]  # by content hash, those that arrived lately among them


class DatasetStore:
    """Reads and changes what is stored of datasets. Raises NotFound for one that isn't there."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._records: dict[DatasetKeys, tuple[str, Dataset]] = {}  # as last read, with their tags
        self._known: dict[str, tuple[float, Known]] = {}  # by the record's key, with the time of the look
        self._settling = threading.Lock()  # held by an upload that settles for those beside it

    def create(self, dataset: Dataset) -> Dataset:
        """Store a new dataset, its record last: what has none is not there."""
        keys = DatasetKeys(dataset.owner, dataset.id)
        captions = {image.sha256: image.caption for image in dataset.images if image.caption}
        bare = [image.model_copy(update={"caption": ""}) for image in dataset.images]
        record = dataset.model_copy(update={"images": bare})
        for key, message in ((keys.captions, Captions(captions=captions)), (keys.record, record)):
            self._bucket.put(key, message.model_dump_json().encode(), if_absent=True)
        return dataset

    def record(self, keys: DatasetKeys) -> Dataset:
        """Return the dataset without captions. One that has not changed is not read again: every upload asks."""
        with _words_for_absence():
            tag, record = self._records.get(keys, ("", None))
            if record is None or self._bucket.head(keys.record).etag != tag:
                record, tag = self._bucket.get_tagged(keys.record, Dataset)
                self._records.pop(keys, None)
                self._records[keys] = (tag.strip('"'), record)
                for oldest in list(self._records)[:-_REMEMBERED]:
                    self._records.pop(oldest, None)
            return record

    def known(self, keys: DatasetKeys, *, at_most_s: float = 0.0) -> Known:
        """Return what the dataset has, as seen so many seconds ago at most: looking costs as much as a small picture.

        What this process takes in meanwhile is known at once; a dataset it changes or deletes is looked at again.
        """
        seen_at, known = self._known.get(keys.record, (0.0, None))
        if known is None or time.monotonic() - seen_at > at_most_s:
            seen_at = time.monotonic()
            arrived = self.settle(keys, unless_fewer_than=_SETTLED_FROM)
            record = self.record(keys)
            known = Known(record, {image.sha256 for image in record.images} | arrived)
            self._known[keys.record] = (seen_at, known)
            for oldest in list(self._known)[:-_REMEMBERED]:
                self._known.pop(oldest, None)
        return known

    def forget(self, keys: DatasetKeys) -> None:
        """Look at a dataset anew: it was deleted."""
        self._known.pop(keys.record, None)

    def captions(self, keys: DatasetKeys) -> dict[str, str]:
        """Return the captions by content hash."""
        stored = self._bucket.find_message(keys.captions, Captions)
        return stored.captions if stored else {}

    def change(self, key: str, kind: type[M], change: Callable[[M], M]) -> M:
        """Change a stored message and return it. A change that somebody makes meanwhile is kept: ours goes on top."""
        self._known.pop(key, None)
        for attempt in range(_ATTEMPTS):
            with _words_for_absence():
                now, tag = self._bucket.get_tagged(key, kind)
            changed = change(now)
            if changed == now or self._bucket.put(key, changed.model_dump_json().encode(), if_unchanged=tag):
                return changed
            time.sleep(_FIRST_PAUSE_S * 2 ** min(attempt, 6))
        raise StorageError("This dataset is changed from elsewhere without a pause.", "Try again in a minute.")

    def arrive(self, keys: DatasetKeys, arrival: Arrival) -> None:
        """Note what came; the objects it names are stored before."""
        name = arrival.image.sha256 if arrival.image else f"{_TEXTS}{new_id()}"
        self._bucket.put_message(keys.arrival(name), arrival)
        _, known = self._known.get(keys.record, (0.0, None))  # another upload may let go of it any moment
        if arrival.image and known:
            known.pictures.add(name)

    def settle(self, keys: DatasetKeys, *, unless_fewer_than: int = 1) -> set[str]:
        """Put what arrived into the record and the captions, then let go of it.

        Returns the content hashes of the pictures that arrived: they are in the record, or were left beside it.
        """
        stored = list(self._bucket.list_all(keys.arrivals))
        pictures = {stem for each in stored if not (stem := PurePosixPath(each.key).stem).startswith(_TEXTS)}
        if len(stored) < unless_fewer_than:
            return pictures
        if unless_fewer_than == 1:
            self._settle(keys, stored)
        elif self._settling.acquire(blocking=False):
            try:
                self._settle(keys, stored)
            finally:
                self._settling.release()
        return pictures

    def _settle(self, keys: DatasetKeys, stored: list[Stored]) -> None:
        names = [each.key for each in sorted(stored, key=lambda each: (each.modified_at, each.key))]
        # One that is gone is in the record by now: somebody else put it there.
        arrivals = [each for each in at_once(lambda key: self._bucket.find_message(key, Arrival), names) if each]
        images = sorted((each.image for each in arrivals if each.image), key=lambda image: natural(image.name))
        texts = {stem: text for each in arrivals for stem, text in (each.captions or {}).items()}
        record = self.change(keys.record, Dataset, lambda now: _with_images(now, images))
        self.change(keys.captions, Captions, lambda now: _claimed(now, record.images, texts))
        self._bucket.delete(names)


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return what sorts 2 before 10."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", name)]


@contextmanager
def _words_for_absence() -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise NotFound("This dataset is not there any more.", "Choose another one.") from error


def _with_images(record: Dataset, images: list[DatasetImage]) -> Dataset:
    known = {image.sha256 for image in record.images}
    return record.model_copy(update={"images": [*record.images, *(new for new in images if new.sha256 not in known)]})


def _claimed(now: Captions, images: list[DatasetImage], texts: dict[str, str]) -> Captions:
    """Give captions that came in files to the pictures of the same stem that have none.

    A caption is kept until its picture comes, and what somebody typed is never replaced. A caption whose folder is not
    the picture's fits, too, when no other picture has that file name.
    """
    waiting = (now.unclaimed or {}) | texts
    if not waiting:
        return now
    captions = dict(now.captions)
    by_file = {_file(stem): stem for stem in waiting}
    files = Counter(_file(stem_of(image.name)) for image in images)
    for image in images:
        stem = stem_of(image.name)
        if stem not in waiting and files[_file(stem)] == 1:
            stem = by_file.get(_file(stem), stem)
        if not captions.get(image.sha256) and (text := waiting.pop(stem, "")):
            captions[image.sha256] = text
    return Captions(captions=captions, unclaimed=waiting)


def _file(stem: str) -> str:
    return PurePosixPath(stem).name
