"""What a person keeps for prompts, in storage: styles to write them in, and lists that wildcards are drawn from."""

import re
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from backend.base_models import ASSETS
from backend.contract import Message, explain
from backend.errors import InvalidRequest, NotFound, StorageError
from backend.keys import prompt_book_key
from backend.storage import Bucket

STARTER_BOOK = ASSETS / "prompt_book.toml"
MOST_STYLES_AT_ONCE = 8
PLACE = "{prompt}"  # in a style: where the words of the person go
_MOST_BYTES = 2**20
_ATTEMPTS = 6


def _check_words(words: str) -> str:
    words = " ".join(words.split())
    if not words:
        raise ValueError("is empty")
    return words


def _check_list_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", name):
        raise ValueError("takes small letters and digits, with a '-' or '_' between them")
    return name


_Words = Annotated[str, Field(max_length=500), AfterValidator(_check_words)]


class Style(Message):
    """A way to write a prompt. Without a PLACE its words go behind those of the person."""

    name: Annotated[str, Field(max_length=40), AfterValidator(_check_words)]
    prompt: Annotated[str, Field(max_length=1000), AfterValidator(_check_words)]
    negative_prompt: Annotated[str, Field(max_length=1000)] = ""


class WordList(Message):
    """What `__name__` in a prompt stands for: one of these."""

    name: Annotated[str, Field(max_length=40), AfterValidator(_check_list_name)]
    words: list[_Words] = Field(min_length=1, max_length=1000)


class PromptBook(Message):
    """A person's styles and lists, each in the order of their names."""

    styles: list[Style] = Field([], max_length=100)
    lists: list[WordList] = Field([], max_length=100)

    @property
    def words_by_list(self) -> dict[str, list[str]]:
        return {each.name: each.words for each in self.lists}

    def written(self, prompt: str, negative_prompt: str, styles: Sequence[str]) -> tuple[str, str]:
        """Return both prompts written in these styles. Raises NotFound for one that isn't there."""
        if len(styles) > MOST_STYLES_AT_ONCE:
            raise InvalidRequest(f"{len(styles)} styles are too many at once; the most is {MOST_STYLES_AT_ONCE}.")
        by_name = {style.name: style for style in self.styles}
        for name in styles:
            if name not in by_name:
                raise NotFound(f"The style '{name}' no longer exists.", "Choose another one.")
            prompt = _within(by_name[name].prompt, prompt)
            added = by_name[name].negative_prompt.strip()
            if added and added not in negative_prompt:
                negative_prompt = ", ".join(filter(None, (negative_prompt.strip(), added)))
        return prompt, negative_prompt


Entry = TypeVar("Entry", Style, WordList)
M = TypeVar("M", bound=Message)


class PromptBooks:
    """Reads and changes the books. Who never changed theirs has the starter's."""

    def __init__(self, bucket: Bucket, starter: PromptBook) -> None:
        self._bucket = bucket
        self._starter = starter

    def of_owner(self, owner: str) -> PromptBook:
        """Return a person's book."""
        return self._bucket.find_message(prompt_book_key(owner), PromptBook) or self._starter

    def save_style(
        self, owner: str, name: str, prompt: str, negative_prompt: str = "", *, replaces: str = ""
    ) -> PromptBook:
        """Put a style in, in place of the one called `replaces` or its own name, and return the book.

        Raises InvalidRequest for what it can't be, in words.
        """
        style = _checked(Style, {"name": name, "prompt": prompt, "negative_prompt": negative_prompt})
        return self._change(owner, lambda book: {"styles": _with(book.styles, style, replaces)})

    def save_list(self, owner: str, name: str, words: list[str], *, replaces: str = "") -> PromptBook:
        """Put a list in, as `save_style` does a style. Entries that are empty are left out."""
        entries = [entry for entry in words if entry.strip()]
        kept = _checked(WordList, {"name": name, "words": entries})
        return self._change(owner, lambda book: {"lists": _with(book.lists, kept, replaces)})

    def remove_style(self, owner: str, name: str) -> PromptBook:
        """Take a style out; one that isn't there is no error. What was written in it stays."""
        return self._change(owner, lambda book: {"styles": [each for each in book.styles if each.name != name]})

    def remove_list(self, owner: str, name: str) -> PromptBook:
        """Take a list out, as `remove_style` does a style."""
        return self._change(owner, lambda book: {"lists": [each for each in book.lists if each.name != name]})

    def _change(self, owner: str, change: Callable[[PromptBook], dict[str, Any]]) -> PromptBook:
        """Change a book. What another window changes meanwhile is kept: ours goes on top."""
        key = prompt_book_key(owner)
        for attempt in range(_ATTEMPTS):
            try:
                now, tag = self._bucket.get_tagged(key, PromptBook)
            except NotFound:
                now, tag = self._starter, ""
            book = _checked(PromptBook, now.model_dump() | change(now))
            data = book.model_dump_json().encode()
            if len(data) > _MOST_BYTES:
                raise InvalidRequest(
                    "Your styles and lists are over a megabyte together.", "Remove some you don't need."
                )
            if self._bucket.put(key, data, if_absent=not tag, if_unchanged=tag):
                return book
            time.sleep(0.02 * 2**attempt)
        raise StorageError("Your styles and lists keep being changed from elsewhere.", "Try again in a minute.")


def load_prompt_book(path: Path = STARTER_BOOK) -> PromptBook:
    """Return the book in a file. Raises InvalidRequest naming what is wrong in it."""
    try:
        return PromptBook.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        words = explain(error) if isinstance(error, ValidationError) else str(error)
        raise InvalidRequest(f"{path}: {words}") from error


def _checked(kind: type[M], fields: dict[str, Any]) -> M:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error


def _within(style: str, prompt: str) -> str:
    """Return the prompt in a style; once is enough, so one that is in it already stays."""
    before, place, after = style.partition(PLACE)
    if not place:
        before, after = "", f", {style}"
    if prompt.startswith(before) and prompt.endswith(after):
        return prompt
    return f"{before}{prompt}{after}"


def _with(entries: list[Entry], entry: Entry, replaces: str) -> list[Entry]:
    kept: list[Entry] = [each for each in entries if each.name not in (entry.name, replaces)]
    kept.append(entry)
    return sorted(kept, key=lambda each: each.name.casefold())
