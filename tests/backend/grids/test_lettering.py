import pytest

from backend.grids.lettering import Lettering

NO_FONT_HAS = "\U000f1234"  # of a private plane


def test_a_letter_that_no_font_has_is_a_question_mark_and_not_a_box() -> None:
    letters = Lettering(16)
    assert letters.width(f"a{NO_FONT_HAS}b") == letters.width("a?b")
    # A mark over such a letter is left out with it.
    assert letters.width(f"a{NO_FONT_HAS}\u0301b") == letters.width("a?b")


def test_a_letter_written_in_two_parts_is_drawn_as_one() -> None:
    letters = Lettering(16)
    assert letters.width("e\u0301") == letters.width("é")


def test_what_only_changes_a_sign_before_it_takes_no_place() -> None:
    letters = Lettering(16)
    assert letters.width("❄\ufe0f") == letters.width("❄")


@pytest.mark.parametrize("text", ["小さなロボット、油絵、柔らかな光", "a small robot by the sea, in oils", "x" * 40])
def test_a_line_fits_its_width_in_every_script(text: str) -> None:
    letters = Lettering(16)
    lines = letters.broken(text, 90, 20)
    assert all(letters.width(line) <= 90 for line in lines)
    if "x" not in text:
        assert len(lines) > 1
        assert "".join("".join(lines).split()) == "".join(text.split())
    else:
        assert lines[0].endswith("…")


def test_what_has_no_room_is_cut_with_an_ellipsis() -> None:
    letters = Lettering(16)
    lines = letters.broken("many words that go on and on and on for more than two lines", 120, 2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
