"""Hostile and odd archives: what is taken, and the sentence for what is not."""

import io
import struct
import zipfile

import pytest

from backend.archives import Entry, read_archive
from backend.errors import DatasetRejected
from backend.pictures import Refusal
from tests.backend.test_pictures import LIMITS, PICTURE


def archive(files: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    buffer.seek(0)
    return buffer


def rejection_of(file: io.BytesIO) -> str:
    with pytest.raises(DatasetRejected) as caught:
        list(read_archive(file, "set.zip", LIMITS))
    return str(caught.value)


def test_an_empty_archive_is_refused() -> None:
    assert rejection_of(archive({})) == "set.zip is empty. Put pictures into the archive."


def test_an_archive_without_pictures_is_refused() -> None:
    assert "set.zip holds no pictures" in rejection_of(archive({"a.txt": b"hello"}))


def test_something_else_named_zip_is_refused() -> None:
    assert "set.zip is not a ZIP archive" in rejection_of(io.BytesIO(b"PK\x03\x04nonsense"))


def test_a_path_out_of_the_archive_is_refused_and_the_rest_taken() -> None:
    found = list(
        read_archive(archive({"../../evil.png": PICTURE, "/abs.png": PICTURE, "ok.png": PICTURE}), "s", LIMITS)
    )
    assert [type(each) for each in found] == [Refusal, Refusal, Entry]
    assert "leads out of the archive" in found[0].reason


def test_a_bomb_is_refused_by_what_it_declares() -> None:
    assert "unpacks to 6 MB; the most is 4 MB" in rejection_of(archive({"a.png": b"\0" * (6 * 2**20)}))


def test_a_bomb_that_lies_about_its_size_is_cut_off() -> None:
    data = bytearray(archive({"a.png": b"\0" * (3 * 2**20)}).getvalue())
    declared = struct.pack("<I", 3 * 2**20)
    assert data.count(declared) == 2
    lying = io.BytesIO(bytes(data).replace(declared, struct.pack("<I", 100)))
    (only,) = read_archive(lying, "set.zip", LIMITS)
    assert isinstance(only, Refusal)


def test_too_many_files_are_refused() -> None:
    assert "holds 41 files; a dataset takes 10" in rejection_of(archive({f"{n}.png": b"" for n in range(41)}))


def test_what_operating_systems_leave_behind_is_passed_over() -> None:
    packed = archive({"__MACOSX/a.png": b"", "._a.png": b"", "d/.DS_Store": b"", "d/a.png": PICTURE})
    assert [each.name for each in read_archive(packed, "s", LIMITS)] == ["d/a.png"]


# -------------------------------------------------------------------------------------- captions
