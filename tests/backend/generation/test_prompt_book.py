from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.errors import InvalidRequest, NotFound
from backend.generation.prompt_book import PromptBook, PromptBooks, Style, WordList, load_prompt_book
from backend.storage import Storage

STARTER = PromptBook(
    styles=[Style(name="Ink", prompt="ink drawing of {prompt}, on paper", negative_prompt="colour")],
    lists=[WordList(name="light", words=["at dawn"])],
)


@pytest.fixture
def books(storage: Storage) -> PromptBooks:
    return PromptBooks(storage.loras, STARTER)


def test_everybody_begins_with_the_starter_book_and_changes_their_own(books: PromptBooks, owner: str) -> None:
    assert books.of_owner(owner) == STARTER

    books.save_style(owner, "Oil", "{prompt}, in oil")
    books.save_style(owner, " Ink  wash ", "ink wash of {prompt}", replaces="Ink")
    books.save_list(owner, "light", ["at  noon", "", "at night "])
    books.remove_list(owner, "not there")

    book = books.of_owner(owner)
    assert [style.name for style in book.styles] == ["Ink wash", "Oil"]
    assert book.words_by_list == {"light": ["at noon", "at night"]}
    assert books.of_owner(f"{owner}x") == STARTER
    assert books.remove_style(owner, "Oil").styles[-1].name == "Ink wash"


def test_what_two_windows_change_at_a_time_is_all_kept(books: PromptBooks, owner: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: books.save_list(owner, f"list-{number}", ["x"]), range(3)))

    assert set(books.of_owner(owner).words_by_list) == {"light", "list-0", "list-1", "list-2"}


@pytest.mark.parametrize("name", ["", "Light", "two words", "a__b", "../x", "_a", "x" * 41, "ä"])
def test_a_list_is_called_what_can_stand_in_a_prompt(books: PromptBooks, owner: str, name: str) -> None:
    with pytest.raises(InvalidRequest, match="'name'"):
        books.save_list(owner, name, ["x"])


def test_what_is_too_much_is_refused_in_words(books: PromptBooks, owner: str) -> None:
    for words in ([], ["  "], ["x" * 501], ["x"] * 1001):
        with pytest.raises(InvalidRequest, match="words"):
            books.save_list(owner, "a", words)
    with pytest.raises(InvalidRequest, match="'prompt' has 1,001 characters"):
        books.save_style(owner, "a", "x" * 1001)
    for number in range(2):
        books.save_list(owner, f"l{number}", ["x" * 499] * 900)
    with pytest.raises(InvalidRequest, match="megabyte"):
        books.save_list(owner, "l3", ["x" * 499] * 900)


def test_a_prompt_is_written_in_several_styles_and_in_each_once() -> None:
    book = PromptBook(styles=[*STARTER.styles, Style(name="Flat", prompt="flat style")])

    once = book.written("a cat", "dog", ["Ink", "Flat"])

    assert once == ("ink drawing of a cat, on paper, flat style", "dog, colour")
    assert book.written(*book.written("a cat", "", ["Ink"]), ["Ink"]) == ("ink drawing of a cat, on paper", "colour")
    with pytest.raises(NotFound, match="style 'Oil' no longer exists"):
        book.written("a cat", "", ["Oil"])
    with pytest.raises(InvalidRequest, match="9 styles"):
        book.written("a cat", "", ["Ink"] * 9)


def test_the_book_that_comes_with_the_studio_can_be_used() -> None:
    book = load_prompt_book()

    assert book.styles == sorted(book.styles, key=lambda style: style.name.casefold())
    assert all(book.written("a cat", "", [style.name])[0].count("a cat") == 1 for style in book.styles)
    assert {"colour", "light"} <= set(book.words_by_list)
