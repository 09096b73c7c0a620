"""A dataset as a ZIP of pictures and .txt captions."""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from backend.contract import Dataset, DatasetImage, file_stem
from backend.pictures import stem_of
from backend.zip_stream import zip_of


def archive_of(dataset: Dataset, read: Callable[[DatasetImage], bytes]) -> Iterator[bytes]:
    """Yield the archive's bytes; `read` brings one picture at a time."""
    return zip_of(_files(dataset, read))


def _files(dataset: Dataset, read: Callable[[DatasetImage], bytes]) -> Iterator[tuple[str, bytes]]:
    taken: set[str] = set()
    for image in dataset.images:
        stem = _free_stem(image.name, taken)
        yield f"{stem}{PurePosixPath(image.key).suffix}", read(image)
        if image.caption:
            yield f"{stem}.txt", image.caption.encode()


def _free_stem(name: str, taken: set[str]) -> str:
    """Return what to call a picture in the archive: safe on every file system, and no other's."""
    wanted = file_stem(PurePosixPath(stem_of(name)).name)
    stem, number = wanted, 1
    while stem.lower() in taken:
        number += 1
        stem = f"{wanted}-{number}"
    taken.add(stem.lower())
    return stem
