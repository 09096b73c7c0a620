"""Pictures and archives from strangers: what is taken in, how it is made fit for training, why a file is refused."""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

import pillow_heif
from PIL import Image, ImageCms, ImageOps

from backend.errors import DatasetRejected
from backend.settings import Settings

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".gif"}
)
MIN_SIDE = 64  # pixels
MAX_CAPTION = 2000  # characters
THUMB_SIDE = 384  # pixels
_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF", "BMP", "GIF")
_SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
_ENTRIES_PER_IMAGE = 4  # an archive may hold captions and other files beside the pictures


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


class Entry(NamedTuple):
    """A file out of an archive, by the path it has in there."""

    name: str
    data: bytes


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
    pillow_heif.register_heif_opener()
    if len(data) > limits.file_bytes:
        raise DatasetRejected(f"{name} is {_megabytes(len(data))}; the most is {_megabytes(limits.file_bytes)} a file.")
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
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail((THUMB_SIDE, THUMB_SIDE), Image.Resampling.LANCZOS)
    return _encode(image, "WEBP", quality=82, method=4)


def decode_caption(data: bytes) -> str:
    """Return a caption file's text, whatever editor wrote it, as one line of at most MAX_CAPTION characters."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return clean_caption(text)


def clean_caption(text: str) -> str:
    """Return a caption as one line without control characters, cut to MAX_CAPTION."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:MAX_CAPTION]


def read_archive(file: BinaryIO, name: str, limits: Limits) -> Iterator[Entry | Refusal]:
    """Yield an archive's pictures and captions one by one, and what was refused.

    Nothing is written to disk, so a hostile path can't reach it. Raises DatasetRejected when the whole is unusable.
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
            entry = _read_entry(archive, info, limits)
            if isinstance(entry, Entry):
                taken += len(entry.data)
                # The sizes an archive declares may be a lie; these bytes are not.
                if taken > limits.total_bytes:
                    raise DatasetRejected(f"{name} unpacks to more than {_megabytes(limits.total_bytes)}.", "Split it.")
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
            f"{name} unpacks to {_megabytes(total)}; the most is {_megabytes(limits.total_bytes)}.", "Split it."
        )


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> Entry | Refusal:
    name = info.filename.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0]:
        return Refusal(name, "its path leads out of the archive")
    if not is_picture(name) and PurePosixPath(name).suffix.lower() != ".txt":
        return Refusal(name, "it is neither a picture nor a .txt caption")
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
        return Refusal(name, f"it unpacks to more than {_megabytes(limits.file_bytes)}")
    return Entry(name, data)


def _is_litter(name: str) -> bool:
    """What operating systems leave in archives."""
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" in parts or parts[-1].startswith(("._", ".DS_Store")) or parts[-1].lower() == "thumbs.db"


def _check_size(image: Image.Image, name: str, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.pixels:
        millions = limits.pixels // 10**6
        raise DatasetRejected(f"{name} is {width}x{height} pixels; the most is {millions} million.", "Scale it down.")
    if min(width, height) < MIN_SIDE:
        raise DatasetRejected(
            f"{name} is {width}x{height} pixels; each side needs at least {MIN_SIDE}.", "Use a larger one."
        )


def _normalised(image: Image.Image, data: bytes, name: str) -> Picture:
    image.load()
    kept_as_it_is = (
        image.format in _SUFFIX and image.mode == "RGB" and not image.info.keys() & {"exif", "icc_profile", "xmp"}
    )
    sha256 = hashlib.sha256(data).hexdigest()
    if kept_as_it_is and getattr(image, "n_frames", 1) == 1:
        return Picture(name, sha256, data, _SUFFIX[str(image.format)], *image.size)
    lossy = image.format in ("JPEG", "HEIF", "AVIF")
    upright = _to_srgb(ImageOps.exif_transpose(image))
    encoded = _encode(upright, "JPEG", quality=95, subsampling=0) if lossy else _encode(upright, "PNG")
    return Picture(name, sha256, encoded, ".jpg" if lossy else ".png", *upright.size)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Return the picture in sRGB; what is transparent becomes white, as on a page."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        image = image.convert("I").point(lambda level: level / 256).convert("L")
    if profile := image.info.get("icc_profile"):
        image = _through_profile(image, profile)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    rgb = image.convert("RGB")
    rgb.info = {}
    return rgb


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


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MB" if count >= 2**20 else f"{count / 2**10:,.0f} KB"
