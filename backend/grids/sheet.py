"""One sheet of a grid as a picture: cells in rows and columns, each axis labelled. Pure."""

import io
import math
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_MOST_PIXELS = 24_000_000
_MOST_SIDE, _LEAST_SIDE = 512, 48  # pixels, the longer side of a cell
_GAP = 8
_MARGIN = 24
_LABEL_LINES, _TITLE_LINES = 3, 2
_PAPER, _INK, _EMPTY, _QUIET = "white", "#18181b", "#e4e4e7", "#52525b"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class _Lay(NamedTuple):
    """Where things are, in pixels."""

    width: int  # of a cell
    height: int
    left: int  # where the first column begins
    top: int
    font: Font
    title_font: Font


def draw_sheet(
    *, title: str, columns: list[str], rows: list[str], shape: tuple[int, int], cells: list[bytes | None]
) -> bytes:
    """Return a PNG. `cells` are picture files row by row, None for one that isn't there; `shape` is their size."""
    lay = _lay(columns, rows, shape)
    width = lay.left + len(columns) * (lay.width + _GAP) - _GAP + _MARGIN
    height = lay.top + len(rows) * (lay.height + _GAP) - _GAP + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _write(pen, (_MARGIN, _MARGIN), title, lay.title_font, width - 2 * _MARGIN, _TITLE_LINES, _INK)
    for column, label in enumerate(columns):
        place = (lay.left + column * (lay.width + _GAP), lay.top - _GAP - _LABEL_LINES * _line(lay.font))
        _write(pen, place, label, lay.font, lay.width, _LABEL_LINES, _QUIET)
    for row, label in enumerate(rows):
        place = (_MARGIN, lay.top + row * (lay.height + _GAP))
        lines = max(1, lay.height // _line(lay.font))
        _write(pen, place, label, lay.font, lay.left - _MARGIN - _GAP, lines, _QUIET)
    for index, cell in enumerate(cells):
        row, column = divmod(index, len(columns))
        at = (lay.left + column * (lay.width + _GAP), lay.top + row * (lay.height + _GAP))
        if cell is None:
            pen.rectangle((*at, at[0] + lay.width - 1, at[1] + lay.height - 1), fill=_EMPTY)
        else:
            picture = Image.open(io.BytesIO(cell)).convert("RGB")
            sheet.paste(picture.resize((lay.width, lay.height), Image.Resampling.LANCZOS), at)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _lay(columns: list[str], rows: list[str], shape: tuple[int, int]) -> _Lay:
    across, down = shape
    side = min(_MOST_SIDE, max(across, down))
    fits = math.sqrt(_MOST_PIXELS / (len(columns) * len(rows) * across * down)) * max(across, down)
    scale = max(_LEAST_SIDE, min(side, fits)) / max(across, down)
    width, height = max(1, round(across * scale)), max(1, round(down * scale))
    font = ImageFont.load_default(size=max(12, min(22, width // 12)))
    title_font = ImageFont.load_default(size=max(16, min(30, width // 9)))
    widest = max((font.getlength(label) for label in rows), default=0)
    left = _MARGIN + (min(int(widest) + 1, max(90, width)) + _GAP if widest else 0)
    top = _MARGIN + _TITLE_LINES * _line(title_font) + _GAP + _LABEL_LINES * _line(font) + _GAP
    return _Lay(width, height, left, top, font, title_font)


def _line(font: Font) -> int:
    """How far apart the lines of a text are."""
    return round(sum(font.getmetrics()) * 1.1) if isinstance(font, ImageFont.FreeTypeFont) else 16


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, font: Font, width: int, lines: int, ink: str
) -> None:
    for number, line in enumerate(_broken(text, font, width, lines)):
        pen.text((at[0], at[1] + number * _line(font)), line, font=font, fill=ink)


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
