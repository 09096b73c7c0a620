"""Text on a sheet in whatever script people prompt: each letter in the first font that has it.

The page's own font, which comes with Gradio, has Latin, Greek and Cyrillic letters. For the rest this computer's fonts
are asked, as a browser does. A sign that none has is told by its name; a question mark stands for any other letter.
"""

import contextlib
import math
import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

_PLEX = "templates/frontend/static/fonts/IBMPlexSans/IBMPlexSans-Regular.woff2"
# Pillow looks for these where Linux, macOS and Windows keep their fonts.
_OTHERS = (
    "NotoSansCJK-Regular.ttc", "DroidSansFallbackFull.ttf", "wqy-microhei.ttc",
    "PingFang.ttc", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc", "Arial Unicode.ttf",
    "msyh.ttc", "YuGothR.ttc", "malgun.ttf", "arial.ttf", "Nirmala.ttc",
    "DejaVuSans.ttf", "NotoSansArabic-Regular.ttf", "NotoSansDevanagari-Regular.ttf",
    "NotoEmoji-Regular.ttf", "Symbola_hint.ttf", "Symbola.ttf", "seguiemj.ttf", "seguisym.ttf", "Apple Symbols.ttf",
)  # fmt: skip
_UNKNOWN = "?"
_NO_LETTER = "\U0010fffd"  # of a private plane: no font has it
# What only changes how its neighbours look: joiners, directions, variants, colours of skin.
_SILENT = re.compile("[\u200b-\u200f\u2060\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]")
# Between letters of these a line may end, as after a space.
_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_PIECES = re.compile(rf"[{_WIDE}]|[^\s{_WIDE}]+|\s+")

Font = ImageFont.FreeTypeFont


class Lettering:
    """Measures and writes text of one size."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rise, fall = _own_font(size).getmetrics()
        self.line = round((self._rise + fall) * 1.1)  # pixels from one line to the next

    def width(self, text: str) -> int:
        """Return how wide a text is, in pixels."""
        return math.ceil(sum(font.getlength(run) for font, run in self._runs(text)))

    def write(self, pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, ink: str) -> None:
        """Write one line whose top left is `at`."""
        left: float = at[0]
        for font, run in self._runs(text):
            pen.text((left, at[1] + self._rise), run, font=font, fill=ink, anchor="ls")
            left += font.getlength(run)

    def broken(self, text: str, width: int, lines: int) -> list[str]:
        """Return a text in lines that fit; what doesn't is left out, and an ellipsis says so."""
        found = [""]
        for piece in _PIECES.findall(text):
            if self.width((found[-1] + piece).strip()) <= width or not found[-1].strip():
                found[-1] += piece
            elif len(found) > lines:
                break
            else:
                found.append(piece)
        whole = [" ".join(line.split()) for line in found if line.strip()] or [""]
        shown = [self._cut(line, width) for line in whole[:lines]]
        if len(whole) > lines:
            shown[-1] = self._cut(f"{shown[-1].rstrip('…')} …", width)
        return shown

    def _cut(self, line: str, width: int) -> str:
        if self.width(line) <= width:
            return line
        most = bisect_right(range(len(line)), width, key=lambda length: self.width(f"{line[:length]}…"))
        return f"{line[: max(0, most - 1)]}…"

    def _runs(self, text: str) -> list[tuple[Font, str]]:
        """Return a text in stretches of one font each."""
        letters: list[tuple[Font, str]] = []
        for letter in unicodedata.normalize("NFC", _SILENT.sub("", text)):
            if not unicodedata.category(letter).startswith("M"):
                letters.append(self._found(letter))
            elif letters and letters[-1][1] != _UNKNOWN:  # a mark belongs to the letter before it
                letters.append((letters[-1][0], letter))
        return [(font, "".join(each for _, each in run)) for font, run in groupby(letters, key=lambda each: each[0])]

    def _found(self, letter: str) -> tuple[Font, str]:
        """Return a font and what it is to draw: the letter, or what stands for it."""
        own = _own_font(self._size)
        if _has(own, letter):
            return own, letter
        for font in _other_fonts(self._size):
            if _has(font, letter):
                return font, letter
        is_sign = unicodedata.category(letter) == "So"
        return own, f":{unicodedata.name(letter, 'sign').lower()}:" if is_sign else _UNKNOWN


@lru_cache(maxsize=32)
def _own_font(size: int) -> Font:
    gradio = find_spec("gradio")
    for folder in (gradio and gradio.submodule_search_locations) or []:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(Path(folder) / _PLEX, size)
    default = ImageFont.load_default(size=size)  # Pillow's own, with none but English letters
    assert isinstance(default, Font)  # noqa: S101 - of a size, it is one
    return default


@lru_cache(maxsize=32)
def _other_fonts(size: int) -> list[Font]:
    found = []
    for name in _OTHERS:
        with contextlib.suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    return found


@lru_cache(maxsize=8192)
def _has(font: Font, letter: str) -> bool:
    """Whether a font has a letter: for one that it hasn't, it draws the same box each time."""
    return letter.isspace() or _drawn(font, letter) != _box(font)


@lru_cache(maxsize=1024)
def _box(font: Font) -> tuple[tuple[int, int], bytes]:
    return _drawn(font, _NO_LETTER)


def _drawn(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
