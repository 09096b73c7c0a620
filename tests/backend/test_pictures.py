"""Hostile and odd pictures: what is taken, and the sentence for what is not."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from backend.errors import DatasetRejected
from backend.pictures import (
    Limits,
    decode_caption,
    prepare_and_decode,
    prepare_picture,
)

LIMITS = Limits(images=10, file_bytes=2**20, total_bytes=4 * 2**20, pixels=10**6)


def encoded(image: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


PICTURE = encoded(Image.effect_noise((128, 96), 60).convert("RGB"))


def refusal_of(data: bytes, name: str = "cat.png") -> str:
    with pytest.raises(DatasetRejected) as caught:
        prepare_picture(data, name, LIMITS)
    return str(caught.value)


def test_a_plain_picture_is_kept_byte_for_byte() -> None:
    picture = prepare_picture(PICTURE, "cat.png", LIMITS)
    assert (picture.data, picture.suffix, picture.width, picture.height) == (PICTURE, ".png", 128, 96)


def test_text_named_png_is_refused() -> None:
    assert refusal_of(b"hello there") == "cat.png is not a picture that can be read. Save it as JPEG, PNG or WebP."


def test_a_truncated_jpeg_is_refused() -> None:
    whole = encoded(Image.effect_noise((256, 256), 60).convert("RGB"), "JPEG")
    assert "cat.jpg is damaged" in refusal_of(whole[: len(whole) // 2], "cat.jpg")


def test_a_large_jpeg_is_looked_at_small_and_kept_as_it_is() -> None:
    photograph = Image.effect_noise((2000, 1500), 60).resize((4000, 3000)).convert("RGB")
    limits = LIMITS._replace(file_bytes=2**24, pixels=2 * 10**7)
    for format_name in ("JPEG", "MPO"):
        data = encoded(photograph, format_name)
        picture, pixels = prepare_and_decode(data, "cat.jpg", limits)
        assert (picture.width, picture.height, pixels.size) == (4000, 3000, (1000, 750))
        assert Image.open(io.BytesIO(picture.data)).size == (4000, 3000)
        # Its last bytes are read all the same.
        with pytest.raises(DatasetRejected, match="damaged"):
            prepare_and_decode(data[: len(data) - len(data) // 50], "cat.jpg", limits)


def test_one_pixel_is_too_small() -> None:
    assert "is 1x1 pixels; each side needs at least 64" in refusal_of(encoded(Image.new("RGB", (1, 1))))


def test_an_enormous_header_is_refused_before_it_is_decoded() -> None:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    data = header + struct.pack(">I", len(idat) - 4) + idat + struct.pack(">I", zlib.crc32(idat))
    assert refusal_of(data) == "cat.png has far more than 1 million pixels. Scale it down."


def test_a_picture_over_the_pixel_limit_is_named_with_its_size() -> None:
    assert "is 1001x1000 pixels; the most is 1 million" in refusal_of(encoded(Image.new("L", (1001, 1000))))


def test_a_file_over_the_limit_is_refused_by_size() -> None:
    assert "the most is 1 MB a file" in refusal_of(b"\0" * (2**20 + 1))


def test_exif_orientation_is_applied_once_and_metadata_goes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x8825] = {1: "N"}  # where it was taken
    picture = prepare_picture(encoded(Image.new("RGB", (128, 96), "red"), "JPEG", exif=exif), "a.jpg", LIMITS)
    assert (picture.width, picture.height) == (96, 128)
    assert not Image.open(io.BytesIO(picture.data)).getexif()


def test_what_is_transparent_becomes_white() -> None:
    picture = prepare_picture(encoded(Image.new("RGBA", (64, 64), (255, 0, 0, 0))), "a.png", LIMITS)
    assert Image.open(io.BytesIO(picture.data)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "1", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("L", (64, 64), 200).convert("I").point(lambda level: level * 256) if mode == "I;16" else None
    image = image.convert("I;16") if image else Image.new("L", (64, 64), 200).convert(mode)
    data = encoded(image, "TIFF")
    made = Image.open(io.BytesIO(prepare_picture(data, "a.tif", LIMITS).data))
    assert made.mode == "RGB"
    assert mode == "1" or abs(made.getpixel((5, 5))[0] - 200) < 12


def test_a_colour_profile_is_applied() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = prepare_picture(encoded(Image.new("RGB", (64, 64), "red"), icc_profile=profile), "a.png", LIMITS)
    assert "icc_profile" not in Image.open(io.BytesIO(picture.data)).info


def test_a_phones_heic_is_taken() -> None:
    picture = prepare_picture(encoded(Image.new("RGB", (128, 64), "teal"), "HEIF"), "IMG_1.HEIC", LIMITS)
    assert (picture.suffix, picture.width) == (".jpg", 128)


# -------------------------------------------------------------------------------------- archives


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_captions_are_read_whatever_wrote_them(encoding: str) -> None:
    assert decode_caption("Füchse im\nWald".encode(encoding)) == "Füchse im Wald"


def test_the_sample_pictures_are_fit_for_training(sample_pictures: list[Path]) -> None:
    for path in sample_pictures:
        assert prepare_picture(path.read_bytes(), path.name, LIMITS).width == 256
