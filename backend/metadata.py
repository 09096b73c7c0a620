"""JPEG, PNG and WebP files without their metadata (where it was taken, by whom), the compressed pixels untouched."""

import re
import struct

_JPEG_HEAD = b"\xff\xd8"
_APPLICATION = range(0xE0, 0xF0)
_COMMENT, _SCAN, _END = 0xFE, 0xDA, 0xD9
# Within compressed pixels a 0xff is followed by 0 or a restart mark; anything else begins a new segment.
_SEGMENT = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"pHYs", b"IDAT", b"IEND")
_WEBP_PIXELS = (b"VP8 ", b"VP8L")


def without_metadata(data: bytes) -> bytes | None:
    """Return a whole picture file with nothing but its pixels, or None for one that isn't built as expected.

    What follows the picture goes too: phones append other pictures and films there.
    """
    try:
        if data.startswith(_JPEG_HEAD):
            return _bare_jpeg(data)
        if data.startswith(_PNG_HEAD):
            return _bare_png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _bare_webp(data)
    except (IndexError, struct.error):
        return None
    return None


def _bare_jpeg(data: bytes) -> bytes | None:
    kept, at = [_JPEG_HEAD], len(_JPEG_HEAD)
    while found := _SEGMENT.search(data, at):
        start, mark = found.start(), data[found.start() + 1]
        if mark == _END:
            return b"".join([*kept, data[start : start + 2]])
        end = start + 2 + struct.unpack_from(">H", data, start + 2)[0]
        if mark == _SCAN:
            following = _SEGMENT.search(data, end)
            end = following.start() if following else len(data)
        if (mark not in _APPLICATION and mark != _COMMENT) or _says_how_to_read(mark, data[start + 4 : start + 9]):
            kept.append(data[start:end])
        at = end
    return None


def _says_how_to_read(mark: int, name: bytes) -> bool:
    """JFIF's header, and Adobe's, without which a decoder would guess the colours."""
    return (mark == 0xE0 and name == b"JFIF\0") or (mark == 0xEE and name == b"Adobe")


def _bare_png(data: bytes) -> bytes | None:
    kept, at = [_PNG_HEAD], len(_PNG_HEAD)
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind in _PNG_KEPT:
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    return None


def _bare_webp(data: bytes) -> bytes | None:
    at = 12
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        if kind in _WEBP_PIXELS and end <= len(data):
            pixels = data[at:end]
            return b"RIFF" + struct.pack("<I", len(pixels) + 4) + b"WEBP" + pixels
        at = end
    return None
