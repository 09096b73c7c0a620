"""One sheet of a grid as a picture: cells in rows and columns, each axis labelled. Pure."""

import contextlib
import io
import math
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_MOST_PIXELS = 24_000_000
_MOST_SIDE, _USUAL_SIDE, _LEAST_SIDE = 512, 256, 48  # pixels, the longer side of a cell
_GAP = 10
_MARGIN = 32
_LABEL_LINES, _TITLE_LINES = 3, 2
_PAPER, _INK, _EMPTY, _QUIET = "white", "#18181b", "#e4e4e7", "#52525b"

_PLEX = "templates/frontend/static/fonts/IBMPlexSans/IBMPlexSans-Regular.woff2"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class _Lay(NamedTuple):
    """Where things are, in pixels."""

    width: int  # of a cell
    height: int
    left: int  # where the first column begins
    top: int
    right: int
    bottom: int
    font: Font
    title_font: Font


def draw_sheet(
    *, title: str, about: str, columns: list[str], rows: list[str], shape: tuple[int, int], cells: list[bytes | None]
) -> bytes:
    """Return a PNG. `cells` are picture files row by row, None for one that isn't there; `shape` is their size.

    `about` stands small under the title.
    """
    lay = _lay(title, columns, rows, shape)
    sheet = Image.new("RGB", (lay.right + _MARGIN, lay.bottom + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    below = _write(pen, (_MARGIN, _MARGIN), title, lay.title_font, lay.right - _MARGIN, _TITLE_LINES, _INK)
    _write(pen, (_MARGIN, below + 4), about, lay.font, lay.right - _MARGIN, 1, _QUIET)
    for column, label in enumerate(columns):
        # What a column is called stands right above it, however many lines it takes.
        lines = len(_broken(label, lay.font, lay.width, _LABEL_LINES))
        place = (lay.left + column * (lay.width + _GAP), lay.top - _GAP - lines * _line(lay.font))
        _write(pen, place, label, lay.font, lay.width, _LABEL_LINES, _INK)
    for row, label in enumerate(rows):
        most = max(1, lay.height // _line(lay.font))
        lines = len(_broken(label, lay.font, lay.left - _MARGIN - _GAP, most))
        middle = lay.top + row * (lay.height + _GAP) + (lay.height - lines * _line(lay.font)) // 2
        _write(pen, (_MARGIN, middle), label, lay.font, lay.left - _MARGIN - _GAP, most, _INK)
    for index, cell in enumerate(cells):
        row, column = divmod(index, len(columns))
        at = (lay.left + column * (lay.width + _GAP), lay.top + row * (lay.height + _GAP))
        if cell is None:
            pen.rectangle((*at, at[0] + lay.width - 1, at[1] + lay.height - 1), fill=_EMPTY)
        else:
            picture = Image.open(io.BytesIO(cell)).convert("RGB")
            sheet.paste(picture.resize((lay.width, lay.height), Image.Resampling.LANCZOS), at)
            # A white picture would have no edge on the paper.
            pen.rectangle((at[0] - 1, at[1] - 1, at[0] + lay.width, at[1] + lay.height), outline=_EMPTY)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _lay(title: str, columns: list[str], rows: list[str], shape: tuple[int, int]) -> _Lay:
    across, down = shape
    side = min(_MOST_SIDE, max(_USUAL_SIDE, across, down))
    fits = math.sqrt(_MOST_PIXELS / (len(columns) * len(rows) * across * down)) * max(across, down)
    scale = max(_LEAST_SIDE, min(side, fits)) / max(across, down)
    width, height = max(1, round(across * scale)), max(1, round(down * scale))
    font, title_font = _font(max(12, min(20, width // 13))), _font(max(16, min(30, width // 8)))
    widest = max((font.getlength(label) for label in rows), default=0)
    left = _MARGIN + (min(int(widest) + 1, max(90, width)) + 2 * _GAP if widest else 0)
    right = left + len(columns) * (width + _GAP) - _GAP
    title_lines = len(_broken(title, title_font, right - _MARGIN, _TITLE_LINES))
    label_lines = max(len(_broken(label, font, width, _LABEL_LINES)) for label in columns)
    top = _MARGIN + title_lines * _line(title_font) + (1 + label_lines) * _line(font) + 4 * _GAP
    return _Lay(width, height, left, top, right, top + len(rows) * (height + _GAP) - _GAP, font, title_font)


def _font(size: int) -> Font:
    """Return the page's own font, which comes with Gradio; Pillow's has no '×', and none but English letters."""
    gradio = find_spec("gradio")
    for folder in (gradio and gradio.submodule_search_locations) or []:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(Path(folder) / _PLEX, size)
    return ImageFont.load_default(size=size)


def _line(font: Font) -> int:
    """How far apart the lines of a text are."""
    return round(sum(font.getmetrics()) * 1.1) if isinstance(font, ImageFont.FreeTypeFont) else 16


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, font: Font, width: int, lines: int, ink: str
) -> int:
    """Write a text from `at` on; return how far down it goes."""
    broken = _broken(text, font, width, lines)
    for number, line in enumerate(broken):
        pen.text((at[0], at[1] + number * _line(font)), line, font=font, fill=ink)
    return at[1] + len(broken) * _line(font)


def _broken(text: str, font: Font, width: int, lines: int) -> list[str]:
    """Return the text in lines that fit; what doesn't is left out, and an ellipsis says so."""
    found = [""]
    for word in text.split():
        longer = f"{found[-1]} {word}".strip()
        if font.getlength(longer) <= width or not found[-1]:
            found[-1] = longer
        else:
            found.append(word)
    shown = [_cut(line, font, width) for line in found[:lines]]
    if len(found) > lines:
        shown[-1] = _cut(f"{shown[-1].rstrip('…')} …", font, width)
    return shown


def _cut(line: str, font: Font, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"
