r"""Wildcards in a prompt: `{red|blue}` is one of them, `__name__` one out of a list. Which ones, a seed says.

The same words, lists and seed always give the same prompt. A backslash before `{`, `}`, `|` or `__` takes it literally.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

from backend.contract import MAX_PROMPT, Seed
from backend.errors import InvalidRequest

MOST_DRAWN = 200  # choices in one prompt
_DEEPEST = 12  # alternatives within alternatives, or lists that name lists
_ESCAPED = re.compile(r"\\([{}|]|__)")
_LIST = re.compile(r"__([A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*)__")
_LITERAL = re.compile(r"[{}|]|__")

Lists = Mapping[str, Sequence[str]]


def has_wildcards(text: str) -> bool:
    """Return whether there is anything in `text` to be worked out, be it only a backslash to be left out."""
    return bool(_ESCAPED.search(text) or _LIST.search(text) or _matching(text))


def names_lists(text: str) -> bool:
    """Return whether `text` needs lists."""
    return bool(_LIST.search(text))


def literal(text: str) -> str:
    """Return `text` written so that working it out gives exactly `text`."""
    return _LITERAL.sub(lambda found: "\\" + found.group(), text) if has_wildcards(text) else text


def expand(text: str, seed: Seed, lists: Lists) -> str:
    """Return the prompt that a seed makes of `text`.

    Raises InvalidRequest for a list that isn't there, lists that name each other in a circle, and what grows too long.
    """
    expanded = _Draw(seed, lists).expand(text, 0)
    if len(expanded) > MAX_PROMPT:
        raise InvalidRequest(
            f"With its wildcards filled in, the prompt has {len(expanded):,} characters; the most is {MAX_PROMPT:,}.",
            "Shorten it, or the entries of its lists.",
        )
    return expanded


class _Draw:
    """The choices made in one prompt, one after the other."""

    def __init__(self, seed: Seed, lists: Lists) -> None:
        self._seed = seed
        self._lists = {name.casefold(): entries for name, entries in lists.items()}
        self._drawn = 0

    def expand(self, text: str, depth: int) -> str:
        if depth > _DEEPEST:
            raise InvalidRequest(
                f"The wildcards are nested more than {_DEEPEST} deep.", "Look for lists that refer to each other."
            )
        ends, pieces, at = _matching(text), [], 0
        while at < len(text):
            if escaped := _ESCAPED.match(text, at):
                pieces.append(escaped.group(1))
                at = escaped.end()
            elif at in ends:
                pieces.append(self.expand(self._one_of(_alternatives(text, at + 1, ends[at])), depth + 1))
                at = ends[at] + 1
            elif named := _LIST.match(text, at):
                pieces.append(self.expand(self._one_of(self._entries(named.group(1))), depth + 1))
                at = named.end()
            else:
                pieces.append(text[at])
                at += 1
        return "".join(pieces)

    def _entries(self, name: str) -> Sequence[str]:
        if entries := self._lists.get(name.casefold()):
            return entries
        raise InvalidRequest(
            f"There is no list '{name}'.", f"Make it under Wildcards, or write \\__{name}__ to keep it as it is."
        )

    def _one_of(self, choices: Sequence[str]) -> str:
        self._drawn += 1
        if self._drawn > MOST_DRAWN:
            raise InvalidRequest(f"The prompt has more than {MOST_DRAWN} wildcards.", "Use fewer.")
        digest = hashlib.sha256(f"{self._seed}/{self._drawn}".encode()).digest()
        return choices[int.from_bytes(digest[:8]) % len(choices)]


def _matching(text: str) -> dict[int, int]:
    """Return where each `{` that offers alternatives ends; braces without a `|` between them are as they stand."""
    ends: dict[int, int] = {}
    opened: list[tuple[int, bool]] = []
    at = 0
    while at < len(text):
        if escaped := _ESCAPED.match(text, at):
            at = escaped.end()
            continue
        if text[at] == "{":
            opened.append((at, False))
        elif text[at] == "|" and opened:
            opened[-1] = (opened[-1][0], True)
        elif text[at] == "}" and opened:
            start, offers = opened.pop()
            if offers:
                ends[start] = at
        at += 1
    return ends


def _alternatives(text: str, start: int, end: int) -> list[str]:
    """Return what stands between the `|` of one pair of braces, left to be worked out themselves."""
    parts, depth, begun, at = [], 0, start, start
    while at < end:
        if escaped := _ESCAPED.match(text, at):
            at = escaped.end()
            continue
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if text[at] == "|" and not depth:
            parts.append(text[begun:at])
            begun = at + 1
        at += 1
    return [*parts, text[begun:end]]
