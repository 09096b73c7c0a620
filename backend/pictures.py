"""Pictures from strangers: what is taken in, how it is made fit for training, why a file is refused."""

import hashlib
import io
import warnings
from pathlib import PurePosixPath
from typing import NamedTuple, cast

import pillow_heif
from PIL import Image, ImageCms, ImageOps

from backend.errors import DatasetRejected
from backend.metadata import without_metadata
from backend.settings import Settings

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".gif"}
)
MIN_SIDE = 64  # pixels
MAX_CAPTION = 2000  # characters
THUMB_SIDE = 384  # pixels
OVERVIEW_SIDE = 1000  # pixels; what a picture's looks are judged by, and a quarter of what most cameras give
_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF", "BMP", "GIF")
# MPO is what Pillow calls a phone's JPEG with further pictures behind the first.
_SUFFIX = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp"}
_JPEG = ("JPEG", "MPO")
_LOSSY = (*_JPEG, "HEIF", "AVIF")
_ORIENTATION = 0x0112


class Limits(NamedTuple):
    """How much one dataset may be."""

    images: int
    file_bytes: int
    total_bytes: int
    pixels: int  # width × height of one picture

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(
            settings.max_dataset_images,
            settings.max_upload_bytes,
            settings.max_dataset_bytes,
            settings.max_image_pixels,
        )


class Picture(NamedTuple):
    """A picture fit for training: upright sRGB without metadata."""

    name: str
    sha256: str  # of the file as it came, so that the same file is known again
    data: bytes
    suffix: str  # .jpg, .png or .webp
    width: int
    height: int


class Refusal(NamedTuple):
    """A file that was not taken, and why."""

    name: str
    reason: str


def is_picture(name: str) -> bool:
    """Return whether a file's name says that it is a picture we can read."""
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES


def stem_of(name: str) -> str:
    """Return what a picture and its caption have in common: the path without its suffix."""
    return str(PurePosixPath(name).with_suffix(""))


def prepare_picture(data: bytes, name: str, limits: Limits) -> Picture:
    """Return the picture in `data` made fit for training. Raises DatasetRejected with its name and the reason."""
    return prepare_and_decode(data, name, limits)[0]


def prepare_and_decode(data: bytes, name: str, limits: Limits) -> tuple[Picture, Image.Image]:
    """Return the picture as `prepare_picture` does, and its pixels, for which it was decoded anyway.

    Where a JPEG stays as it is they are fewer, though never less than OVERVIEW_SIDE where it has that many: every byte
    is still read, as a damaged one has to be found, but colours are worked out for half or a quarter of each side.
    """
    pillow_heif.register_heif_opener()
    if len(data) > limits.file_bytes:
        raise DatasetRejected(f"{name} is {megabytes(len(data))}; the most is {megabytes(limits.file_bytes)} a file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own pixel limit speaks below, in words
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        millions = limits.pixels // 10**6
        raise DatasetRejected(f"{name} has far more than {millions} million pixels.", "Scale it down.") from error
    except Exception as error:  # Pillow raises what its decoders happen to raise
        raise DatasetRejected(f"{name} is not a picture that can be read.", "Save it as JPEG, PNG or WebP.") from error
    _check_size(image, name, limits)
    try:
        return _normalised(image, data, name)
    except Exception as error:
        raise DatasetRejected(
            f"{name} is damaged: it can't be decoded to the end.", "Export or upload it again."
        ) from error


def thumbnail(picture: bytes) -> bytes:
    """Return a small WebP of a picture we prepared or made."""
    return thumbnail_of(Image.open(io.BytesIO(picture)).convert("RGB"))


def thumbnail_of(image: Image.Image) -> bytes:
    """Return a small WebP of an RGB picture; the picture itself stays as it is."""
    scale = min(1.0, THUMB_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)
    return _encode(small, "WEBP", quality=82, method=2)


def decode_caption(data: bytes) -> str:
    """Return a caption file's text, whatever editor wrote it, as one line of at most MAX_CAPTION characters."""
    return clean_caption(decode_text(data))


def decode_text(data: bytes) -> str:
    """Return a text file's content, whatever editor wrote it."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def clean_caption(text: str) -> str:
    """Return a caption as one line without control characters, cut to MAX_CAPTION."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:MAX_CAPTION]


def megabytes(count: int) -> str:
    """Return a size as people say it."""
    return f"{count / 2**20:,.0f} MB" if count >= 2**20 else f"{count / 2**10:,.0f} KB"


def _check_size(image: Image.Image, name: str, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.pixels:
        millions = limits.pixels // 10**6
        raise DatasetRejected(f"{name} is {width}x{height} pixels; the most is {millions} million.", "Scale it down.")
    if min(width, height) < MIN_SIDE:
        raise DatasetRejected(
            f"{name} is {width}x{height} pixels; each side needs at least {MIN_SIDE}.", "Use a larger one."
        )


def _normalised(image: Image.Image, data: bytes, name: str) -> tuple[Picture, Image.Image]:
    width, height = image.size
    if image.format not in _JPEG:
        image.load()  # others may say how they are to be read behind their pixels
    sha256 = hashlib.sha256(data).hexdigest()
    as_it_is = without_metadata(data) if _is_fit_but_for_metadata(image) else None
    if as_it_is and image.format in _JPEG:
        share = min(1.0, OVERVIEW_SIDE / max(image.size))
        image.draft("RGB", (round(width * share), round(height * share)))
    image.load()
    if as_it_is:
        return Picture(name, sha256, as_it_is, _SUFFIX[str(image.format)], width, height), image
    lossy = image.format in _LOSSY
    upright = _to_srgb(ImageOps.exif_transpose(image))
    encoded = (
        _encode(upright, "JPEG", quality=95, subsampling=0) if lossy else _encode(upright, "PNG", compress_level=2)
    )
    return Picture(name, sha256, encoded, ".jpg" if lossy else ".png", *upright.size), upright


def _is_fit_but_for_metadata(image: Image.Image) -> bool:
    """Return whether the pixels are upright sRGB in a file of one picture, so that they need no new encoding."""
    moving = image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1
    return (
        image.format in _SUFFIX
        and image.mode == "RGB"
        and not moving
        and "transparency" not in image.info
        and image.getexif().get(_ORIENTATION, 1) == 1
        and _is_srgb(image.info.get("icc_profile"))
    )


def _is_srgb(profile: bytes | None) -> bool:
    if not profile:
        return True
    try:
        return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return False


def _to_srgb(image: Image.Image) -> Image.Image:
    """Return the picture in sRGB; what is transparent becomes white, as on a page."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _to_eight_bits(image)
    if profile := image.info.get("icc_profile"):
        image = _through_profile(image, profile)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    rgb = image.convert("RGB")
    rgb.info = {}
    return rgb


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Return a picture of 16 bits, or of fractions, as shades of grey."""
    fractions = image.convert("F")
    brightest = cast(tuple[float, float], fractions.getextrema())[1]
    most = 1.0 if image.mode == "F" and brightest <= 1 else 65535.0
    return fractions.point(lambda level: level * (255 / most) + 0.5).convert("L")


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image:
    source = image if image.mode in ("RGB", "RGBA", "CMYK", "L") else image.convert("RGB")
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGBA" if source.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(source, own, ImageCms.createProfile("sRGB"), outputMode=mode) or source
    except ImageCms.PyCMSError:
        return source  # a broken profile says nothing about the pixels


def _encode(image: Image.Image, format_name: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()
