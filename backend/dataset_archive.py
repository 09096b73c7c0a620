"""A dataset as a ZIP of pictures and .txt captions, made while it is sent, so that none is ever whole in memory."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from backend.contract import Dataset, DatasetImage, file_stem
from backend.pictures import stem_of


def archive_of(dataset: Dataset, read: Callable[[DatasetImage], bytes]) -> Iterator[bytes]:
    """Yield the archive's bytes; `read` brings one picture at a time."""
    sink = _Sink()
    taken: set[str] = set()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for image in dataset.images:
            stem = _free_stem(image.name, taken)
            archive.writestr(f"{stem}{PurePosixPath(image.key).suffix}", read(image))
            if image.caption:
                archive.writestr(f"{stem}.txt", image.caption)
            yield sink.taken()
    yield sink.taken()


def _free_stem(name: str, taken: set[str]) -> str:
    """Return what to call a picture in the archive: safe on every file system, and no other's."""
    wanted = file_stem(PurePosixPath(stem_of(name)).name)
    stem, number = wanted, 1
    while stem.lower() in taken:
        number += 1
        stem = f"{wanted}-{number}"
    taken.add(stem.lower())
    return stem


class _Sink(io.RawIOBase):
    """What ZipFile writes to: it can't seek, and is emptied after each picture."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
