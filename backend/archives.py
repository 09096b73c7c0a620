"""ZIP archives from strangers, read entry by entry within limits; nothing of them ever touches the disk."""

import zipfile
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

from backend.errors import DatasetRejected
from backend.pictures import Limits, Refusal, is_picture, megabytes

_ENTRIES_PER_IMAGE = 4  # an archive may hold captions and other files beside the pictures


class Entry(NamedTuple):
    """A file out of an archive, by the path it has in there."""

    name: str
    data: bytes


def read_archive(
    file: BinaryIO, name: str, limits: Limits, captions: Collection[str] = (".txt",)
) -> Iterator[Entry | Refusal]:
    """Yield an archive's pictures and captions one by one, and what was refused.

    `captions` are the suffixes of files that hold some. Nothing is written to disk, so a hostile path can't reach it.
    Raises DatasetRejected when the whole is unusable.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError) as error:
        raise DatasetRejected(
            f"{name} is not a ZIP archive, or it is cut short.", "Pack it and upload it again."
        ) from error
    with archive:
        infos = [info for info in archive.infolist() if not info.is_dir() and not _is_litter(info.filename)]
        _check_archive(infos, name, limits)
        taken = 0
        for info in infos:
            entry = _read_entry(archive, info, limits, captions)
            if isinstance(entry, Entry):
                taken += len(entry.data)
                # The sizes an archive declares may be a lie; these bytes are not.
                if taken > limits.total_bytes:
                    raise DatasetRejected(f"{name} unpacks to more than {megabytes(limits.total_bytes)}.", "Split it.")
            yield entry


def _check_archive(infos: list[zipfile.ZipInfo], name: str, limits: Limits) -> None:
    if not infos:
        raise DatasetRejected(f"{name} is empty.", "Put pictures into the archive.")
    if len(infos) > limits.images * _ENTRIES_PER_IMAGE:
        raise DatasetRejected(
            f"{name} holds {len(infos):,} files; a dataset takes {limits.images:,} pictures.", "Split it."
        )
    if not any(is_picture(info.filename) for info in infos):
        raise DatasetRejected(f"{name} holds no pictures.", "Put JPEG, PNG or WebP files into it.")
    if (total := sum(info.file_size for info in infos)) > limits.total_bytes:
        raise DatasetRejected(
            f"{name} unpacks to {megabytes(total)}; the most is {megabytes(limits.total_bytes)}.", "Split it."
        )


def _read_entry(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits, captions: Collection[str]
) -> Entry | Refusal:
    name = info.filename.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0]:
        return Refusal(name, "its path leads out of the archive")
    if not is_picture(name) and PurePosixPath(name).suffix.lower() not in captions:
        return Refusal(name, f"it is neither a picture nor a {' or '.join(captions)} caption")
    if info.flag_bits & 0x1:
        return Refusal(name, "it is encrypted; pack it without a password")
    try:
        with archive.open(info) as file:
            data = file.read(limits.file_bytes + 1)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError):
        return Refusal(name, "it can't be unpacked; the archive is damaged there")
    except Exception as error:  # zlib.error, lzma.LZMAError: no common class
        return Refusal(name, f"it can't be unpacked ({type(error).__name__})")
    if len(data) > limits.file_bytes:
        return Refusal(name, f"it unpacks to more than {megabytes(limits.file_bytes)}")
    return Entry(name, data)


def _is_litter(name: str) -> bool:
    """What operating systems leave in archives."""
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" in parts or parts[-1].startswith(("._", ".DS_Store")) or parts[-1].lower() == "thumbs.db"
