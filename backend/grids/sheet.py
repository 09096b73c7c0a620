"""One sheet of a grid as a picture: cells in rows and columns, each axis labelled. Pure."""

import io
import math
from typing import NamedTuple

from PIL import Image, ImageDraw

from backend.grids.lettering import Lettering

_MOST_PIXELS = 24_000_000
_MOST_SIDE, _USUAL_SIDE, _LEAST_SIDE = 512, 256, 48  # pixels, the longer side of a cell
_GAP = 10
_MARGIN = 32
_LABEL_LINES, _TITLE_LINES = 3, 2
_PAPER, _INK, _EMPTY, _QUIET = "white", "#18181b", "#e4e4e7", "#52525b"


class _Lay(NamedTuple):
    """Where things are, in pixels."""

    width: int  # of a cell
    height: int
    left: int  # where the first column begins
    top: int
    right: int
    bottom: int
    letters: Lettering
    title_letters: Lettering


def draw_sheet(
    *, title: str, about: str, columns: list[str], rows: list[str], shape: tuple[int, int], cells: list[bytes | None]
) -> bytes:
    """Return a PNG. `cells` are picture files row by row, None for one that isn't there; `shape` is their size.

    `about` stands small under the title.
    """
    lay = _lay(title, columns, rows, shape)
    sheet = Image.new("RGB", (lay.right + _MARGIN, lay.bottom + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    below = _write(pen, (_MARGIN, _MARGIN), title, lay.title_letters, lay.right - _MARGIN, _TITLE_LINES, _INK)
    _write(pen, (_MARGIN, below + 4), about, lay.letters, lay.right - _MARGIN, 1, _QUIET)
    for column, label in enumerate(columns):
        # What a column is called stands right above it, however many lines it takes.
        lines = len(lay.letters.broken(label, lay.width, _LABEL_LINES))
        place = (lay.left + column * (lay.width + _GAP), lay.top - _GAP - lines * lay.letters.line)
        _write(pen, place, label, lay.letters, lay.width, _LABEL_LINES, _INK)
    for row, label in enumerate(rows):
        most = max(1, lay.height // lay.letters.line)
        lines = len(lay.letters.broken(label, lay.left - _MARGIN - _GAP, most))
        middle = lay.top + row * (lay.height + _GAP) + (lay.height - lines * lay.letters.line) // 2
        _write(pen, (_MARGIN, middle), label, lay.letters, lay.left - _MARGIN - _GAP, most, _INK)
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
    letters, title_letters = Lettering(max(12, min(20, width // 13))), Lettering(max(16, min(30, width // 8)))
    widest = max((letters.width(label) for label in rows), default=0)
    left = _MARGIN + (min(int(widest) + 1, max(90, width)) + 2 * _GAP if widest else 0)
    right = left + len(columns) * (width + _GAP) - _GAP
    title_lines = len(title_letters.broken(title, right - _MARGIN, _TITLE_LINES))
    label_lines = max(len(letters.broken(label, width, _LABEL_LINES)) for label in columns)
    top = _MARGIN + title_lines * title_letters.line + (1 + label_lines) * letters.line + 4 * _GAP
    return _Lay(width, height, left, top, right, top + len(rows) * (height + _GAP) - _GAP, letters, title_letters)


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, letters: Lettering, width: int, lines: int, ink: str
) -> int:
    """Write a text from `at` on; return how far down it goes."""
    broken = letters.broken(text, width, lines)
    for number, line in enumerate(broken):
        letters.write(pen, (at[0], at[1] + number * letters.line), line, ink)
    return at[1] + len(broken) * letters.line
