"""Metadata goes and the pixels stay, whatever the encoder did; what isn't a whole picture is left to others."""

import io

import pytest
from PIL import Image, PngImagePlugin

from backend.metadata import without_metadata

SECRET = b"51.5007N 0.1246W"
NOISE = Image.effect_noise((96, 80), 60).convert("RGB")


def encoded(format_name: str, image: Image.Image = NOISE, **options: object) -> bytes:
    """A picture that says where it was taken, in every place its format has for it, and once more behind its end."""
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    if format_name == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Comment", SECRET.decode())
        texts.add_itxt("XML:com.adobe.xmp", SECRET.decode())
        options |= {"pnginfo": texts}
    else:
        options |= {"xmp": SECRET}
    if format_name == "JPEG":
        options |= {"comment": SECRET}
    buffer = io.BytesIO()
    image.save(buffer, format_name, exif=exif, **options)
    assert buffer.getvalue().count(SECRET) >= 2
    return buffer.getvalue() + SECRET


PICTURES = {
    "jpeg": encoded("JPEG"),
    "jpeg, progressive": encoded("JPEG", progressive=True),
    "jpeg, with restart marks": encoded("JPEG", restart_marker_blocks=2),
    "jpeg, four inks": encoded("JPEG", NOISE.convert("CMYK")),
    "jpeg, grey": encoded("JPEG", NOISE.convert("L")),
    "png": encoded("PNG"),
    "png, palette with a transparent colour": encoded("PNG", NOISE.convert("P"), transparency=3),
    "webp, lossy": encoded("WEBP"),
    "webp, lossless": encoded("WEBP", lossless=True),
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_pixels_stay_and_the_rest_goes(name: str) -> None:
    bare = without_metadata(PICTURES[name])
    assert bare is not None
    assert SECRET not in bare
    with Image.open(io.BytesIO(PICTURES[name])) as before, Image.open(io.BytesIO(bare)) as after:
        assert after.format == before.format
        assert after.convert("RGBA").tobytes() == before.convert("RGBA").tobytes()
        assert not after.getexif()


@pytest.mark.parametrize("name", PICTURES)
def test_half_a_picture_is_never_called_whole(name: str) -> None:
    whole = without_metadata(PICTURES[name])
    assert whole is not None
    assert all(without_metadata(whole[:length]) is None for length in range(0, len(whole) - 2, 97))


def test_what_is_no_picture_is_left_alone() -> None:
    for data in (
        b"",
        b"no picture",
        b"\xff\xd8",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
        b"\xff\xd8\xff\xe1\0\0" * 9,
    ):
        assert without_metadata(data) is None
