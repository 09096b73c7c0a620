"""Taking files in: what a file brings, each picture decoded once, a few at a time so that memory stays flat."""

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from backend.archives import Entry, read_archive
from backend.datasets.caption_files import CAPTION_SUFFIXES, is_captions, read_captions
from backend.datasets.looks import fingerprint, overview, sharpness
from backend.errors import DatasetRejected
from backend.pictures import (
    Limits,
    Picture,
    Refusal,
    is_picture,
    prepare_and_decode,
    thumbnail_of,
)

_DECODERS = max(2, os.cpu_count() or 2)
_LARGE_BYTES = 25 * 2**20  # pictures over it are decoded one at a time
_AT_ONCE = _DECODERS + 1  # of an archive: one is read while the others are decoded


class Upload(NamedTuple):
    """A file somebody sent: what they called it, and where it lies for now."""

    name: str
    path: Path


class Seen(NamedTuple):
    """A picture fit for training, its thumbnail, and what the check-up goes by."""

    picture: Picture
    thumb: bytes
    sharpness: float | None
    fingerprint: str


class Texts(NamedTuple):
    """Captions out of one file, by the stem of their picture."""

    captions: dict[str, str]


Found = Seen | Texts | Refusal


class Reader:
    """Reads what people send. One for the process, so that its bound on memory is one, too."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._decoding = threading.BoundedSemaphore(_DECODERS)
        self._large = threading.Lock()

    def read(self, upload: Upload) -> Iterator[Found]:
        """Yield what a file brings: a picture, captions, or all that is in an archive. A bad file is a refusal."""
        try:
            if is_archive(upload.name):
                yield from self._archive(upload)
            elif (size := upload.path.stat().st_size) > self._limits.file_bytes:
                yield Refusal(
                    upload.name, f"it is {size // 2**20} MB; the most is {self._limits.file_bytes // 2**20} MB"
                )
            else:
                yield self._entry(Entry(upload.name, upload.path.read_bytes()))
        except DatasetRejected as error:
            yield Refusal(upload.name, str(error))

    def _archive(self, upload: Upload) -> Iterator[Found]:
        with upload.path.open("rb") as file, ThreadPoolExecutor(_DECODERS, thread_name_prefix="intake") as threads:
            under_way: deque[Future[Found]] = deque()
            for entry in read_archive(file, upload.name, self._limits, CAPTION_SUFFIXES):
                if isinstance(entry, Refusal):
                    yield entry
                    continue
                under_way.append(threads.submit(self._entry, entry))
                if len(under_way) >= _AT_ONCE:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()

    def _entry(self, entry: Entry) -> Found:
        try:
            if is_captions(entry.name):
                return Texts(read_captions(entry.data, entry.name))
            if is_picture(entry.name):
                return self._picture(entry)
        except DatasetRejected as error:
            return Refusal(entry.name, str(error))
        return Refusal(entry.name, "it is neither a picture, a caption file (.txt, .jsonl, .csv) nor a .zip")

    def _picture(self, entry: Entry) -> Seen:
        large = self._large if len(entry.data) > _LARGE_BYTES else nullcontext()
        with large, self._decoding:
            picture, pixels = prepare_and_decode(entry.data, entry.name, self._limits)
            small = overview(pixels)
            return Seen(picture, thumbnail_of(small), sharpness(small), fingerprint(small))


def is_archive(name: str) -> bool:
    """Return whether a file's name says that it is an archive."""
    return PurePosixPath(name).suffix.lower() == ".zip"
