import io
from pathlib import Path

import pytest
from PIL import Image

from backend.errors import InvalidRequest, NotFound
from backend.generation.start_pictures import MOST_SIDE, StartPictures
from backend.pictures import Limits
from backend.storage import Storage

LIMITS = Limits(images=10, file_bytes=10**8, total_bytes=10**9, pixels=20_000_000)


@pytest.fixture
def starts(storage: Storage) -> StartPictures:
    return StartPictures(storage.outputs, LIMITS)


def saved(path: Path, size: tuple[int, int], **options: object) -> Path:
    Image.effect_noise(size, 40).convert("RGB").save(path, **options)  # type: ignore[arg-type]
    return path


def test_a_picture_is_kept_small_and_without_what_else_was_in_its_file(
    starts: StartPictures, storage: Storage, owner: str, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "where I live"
    path = saved(tmp_path / "a.jpg", (3000, 1500), exif=exif)

    picture = starts.take_in(owner, path, "holiday.jpg")

    data = storage.outputs.get(picture.key)
    assert (picture.width, picture.height) == (MOST_SIDE // 2, MOST_SIDE)
    assert Image.open(io.BytesIO(data)).size == (picture.width, picture.height)
    assert b"where I live" not in data
    assert picture.key.startswith(f"starts/{owner}/")


def test_the_same_picture_is_kept_once(starts: StartPictures, storage: Storage, owner: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", (100, 80))

    assert starts.take_in(owner, path, "a.png") == starts.take_in(owner, path, "b.png")
    assert len(list(storage.outputs.list_all(f"starts/{owner}/"))) == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "not a picture"), (b"<svg onload=alert(1)>", "not a picture"), (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "not a")],
)
def test_what_is_no_picture_is_refused_in_words(
    starts: StartPictures, owner: str, tmp_path: Path, data: bytes, why: str
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(data)

    with pytest.raises(InvalidRequest, match=why):
        starts.take_in(owner, path, "bad.png")


def test_what_is_too_small_or_far_too_large_is_refused(starts: StartPictures, owner: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="at least 64"):
        starts.take_in(owner, saved(tmp_path / "dot.png", (8, 8)), "dot.png")
    with pytest.raises(InvalidRequest, match="20 million"):
        starts.take_in(owner, saved(tmp_path / "wall.jpg", (6000, 4000)), "wall.jpg")


def test_nobody_starts_from_what_is_not_theirs_or_gone(starts: StartPictures, owner: str, tmp_path: Path) -> None:
    picture = starts.take_in(owner, saved(tmp_path / "a.png", (100, 80)), "a.png")

    starts.check(owner, picture.key)
    for key in (picture.key.replace(owner, "other"), f"records/{owner}/x.json", f"images/{owner}/../other/x.png"):
        with pytest.raises(InvalidRequest, match="This picture isn't yours"):
            starts.check(owner, key)
    with pytest.raises(NotFound):
        starts.check(owner, f"images/{owner}/gone.png")
