from collections import Counter

import pytest

from backend.contract import MAX_PROMPT, MAX_SEED
from backend.errors import InvalidRequest
from backend.generation.wildcards import expand, has_wildcards, literal

LISTS = {"colour": ["red", "blue"], "thing": ["{big|small} house", "__colour__ car"]}


def test_the_same_seed_gives_the_same_words() -> None:
    text = "a {red|green|blue} __thing__, {one|two|three}"

    assert [expand(text, seed, LISTS) for seed in range(50)] == [expand(text, seed, LISTS) for seed in range(50)]
    # For good: a picture that was made with these words has to come out again.
    assert [expand("{a|b|c|d}", seed, {}) for seed in (0, 1, 2, MAX_SEED)] == ["c", "d", "a", "a"]


def test_seeds_draw_all_of_them_about_as_often() -> None:
    drawn = Counter(expand("{a|b|c}", seed, {}) for seed in range(3000))

    assert set(drawn) == {"a", "b", "c"}
    assert min(drawn.values()) > 900


def test_two_of_the_same_kind_are_drawn_apart() -> None:
    assert len({expand("{a|b} {a|b}", seed, {}) for seed in range(60)}) == 4


@pytest.mark.parametrize(
    ("text", "ones"),
    [
        ("{a|{b|c}}", {"a", "b", "c"}),
        ("{a|}", {"a", ""}),
        ("{x{1|2}y|z}", {"x1y", "x2y", "z"}),
        ("__COLOUR__", {"red", "blue"}),
        ("__thing__", {"big house", "small house", "red car", "blue car"}),
        (r"{a\|b|c\}}", {"a|b", "c}"}),
    ],
)
def test_what_may_come_of_it(text: str, ones: set[str]) -> None:
    assert {expand(text, seed, LISTS) for seed in range(200)} == ones


@pytest.mark.parametrize(
    "text", ["{a}", "a|b", "{", "}", "}{", "{{a|", "__a b__", "____", "a_b", r"(x:1.2) \(y\)", "{a}|{b}"]
)
def test_what_is_no_wildcard_stays(text: str) -> None:
    assert not has_wildcards(text)
    assert expand(text, 1, {}) == text == literal(text)


@pytest.mark.parametrize(
    "text", ["{a|b}", "__colour__ and {c}", r"\{a|b\}", r"a\__colour__", r"\\{a|b}", "{{a|b}|c} } |"]
)
def test_words_that_were_drawn_can_be_drawn_again(text: str) -> None:
    assert expand(literal(text), 7, {}) == text


@pytest.mark.parametrize(
    ("text", "lists", "why"),
    [
        ("__nothing__", {}, "There is no list 'nothing'"),
        ("__loop__", {"loop": ["__loop__"]}, "nested more than"),
        ("__a__", {"a": ["__b__ " * 40], "b": ["__c__ " * 40], "c": ["x"]}, "more than 200 wildcards"),
        ("{a|b}" + "x" * MAX_PROMPT, {}, "characters; the most is 4,000"),
        ("{a|" * 100 + "}" * 100, {}, None),
        ("{" * 4000, {}, None),
        ("{a|" * 1000 + "b" + "|c}" * 1000, {}, None),
    ],
)  # fmt: skip
def test_what_is_meant_to_break_it_is_refused_in_words(text: str, lists: dict[str, list[str]], why: str | None) -> None:
    for seed in range(20):
        if why:
            with pytest.raises(InvalidRequest, match=why):
                expand(text, seed, lists)
        else:
            try:
                assert len(expand(text, seed, lists)) <= MAX_PROMPT
            except InvalidRequest as error:
                assert "deep" in error.message
