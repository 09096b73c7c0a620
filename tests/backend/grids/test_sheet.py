import io

import pytest
from PIL import Image

from backend.grids.sheet import draw_sheet


def picture(colour: str, size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def colours(sheet: Image.Image) -> set[tuple[int, int, int]]:
    return {colour for count, colour in sheet.getcolors(2**24) or [] if count > 1000}  # type: ignore[misc]


def test_every_cell_is_in_its_place_and_a_missing_one_is_grey() -> None:
    cells = [picture("red"), picture("lime"), picture("blue"), None]
    sheet = Image.open(
        io.BytesIO(
            draw_sheet(title="A title", about="x", columns=["1", "2"], rows=["a", "b"], shape=(64, 64), cells=cells)
        )
    )
    assert colours(sheet) >= {(255, 0, 0), (0, 255, 0), (0, 0, 255), (228, 228, 231), (255, 255, 255)}
    right, bottom = sheet.width - 32, sheet.height - 32
    assert sheet.getpixel((right - 280, bottom - 280)) == (255, 0, 0)
    assert sheet.getpixel((right - 10, bottom - 280)) == (0, 255, 0)
    assert sheet.getpixel((right - 280, bottom - 10)) == (0, 0, 255)


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (24, 4), (2, 24), (100, 1)])
def test_a_sheet_stays_of_a_size_that_can_be_opened(columns: int, rows: int) -> None:
    words = "a very long prompt with many words in it, " * 40 + "x" * 500
    sheet = Image.open(
        io.BytesIO(
            draw_sheet(
                title=words,
                about=words,
                columns=[words] * columns,
                rows=[words] * rows,
                shape=(1024, 640),
                cells=[picture("red")] * (columns * rows),
            )
        )
    )
    assert sheet.width * sheet.height < 60_000_000
    assert sheet.format == "PNG"


def test_signs_and_other_letters_are_drawn() -> None:
    # A font without them draws the same empty box for each.
    sheets = {
        draw_sheet(title=sign, about="", columns=[""], rows=[""], shape=(64, 64), cells=[None]) for sign in "×–жé"
    }
    assert len(sheets) == 4
