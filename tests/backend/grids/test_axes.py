from decimal import Decimal

import pytest

from backend.errors import InvalidRequest
from backend.grids.axes import MOST_VALUES, AxisKind, few_loras, numbers_in, prompts_in, steps_in


@pytest.mark.parametrize(
    ("kind", "text", "numbers"),
    [
        ("strength", "0–1 step 0.2", ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ("strength", "0-1 step 0.5, 1.5", ["0", "0.5", "1.0", "1.5"]),
        ("strength", "-1 to 1 by 1", ["-1", "0", "1"]),
        ("seed", "1..3; 7\n7", ["1", "2", "3", "7"]),
        ("steps", "4, 8, 12", ["4", "8", "12"]),
        ("guidance", "2.5", ["2.5"]),
        ("seed", "18446744073709551615", ["18446744073709551615"]),
    ],
)
def test_numbers_and_ranges_are_read(kind: AxisKind, text: str, numbers: list[str]) -> None:
    assert numbers_in(kind, text) == [Decimal(number) for number in numbers]


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        ("strength", "0–1", "“Strength”: “0–1” says no step; write it as “0–1 step 0.2”"),
        ("strength", "0–1 step 0", "“0–1 step 0” leads nowhere"),
        ("strength", "5", "“Strength”: 5 is too much; the most is 4"),
        ("steps", "0", "“Steps”: 0 is too little; the least is 1"),
        ("steps", "12.5", "12.5 is not a whole number"),
        ("steps", "many", "“many” is neither a number nor a range such as “1–4”"),
        ("seed", "1–10000000000", f"10,000,000,000 values; the most is {MOST_VALUES}"),
        ("seed", ", ", "“Seed”: it has no values yet"),
        ("guidance", "nan", "neither a number"),
        ("guidance", "1e3", "neither a number"),
        ("seed", ",".join(map(str, range(30))), "30 values are too many"),
    ],
)
def test_what_is_wrong_is_named_with_axis_value_and_limit(kind: AxisKind, text: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence.replace(".", r"\.")):
        numbers_in(kind, text)


def test_prompts_are_one_a_line_and_each_is_there_once() -> None:
    assert prompts_in("a cat, asleep\n\n a dog \na cat, asleep\n") == ["a cat, asleep", "a dog"]
    with pytest.raises(InvalidRequest, match="5,000 characters; the most is 4,000"):
        prompts_in("x" * 5000)


def test_checkpoints_are_named_by_their_steps() -> None:
    assert steps_in("all", [300, 100, 200]) == [100, 200, 300]
    assert steps_in("100–300 step 200", [100, 200, 300]) == [100, 300]
    with pytest.raises(InvalidRequest, match="no checkpoint of step 150; it has 100, 200"):
        steps_in("150", [100, 200])
    with pytest.raises(InvalidRequest, match="no values yet"):
        steps_in("all", [])


def test_loras_are_counted_once() -> None:
    assert few_loras(["a", "b", "a"]) == ["a", "b"]
