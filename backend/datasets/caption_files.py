"""Captions that come in files: one .txt a picture, or a .jsonl or .csv for all; each known by its picture's stem."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from backend.errors import DatasetRejected
from backend.pictures import clean_caption, decode_caption, decode_text, is_picture, stem_of

CAPTION_SUFFIXES = (".txt", ".jsonl", ".csv")
_MOST_ROWS = 10_000
_NAMES = ("file_name", "filename", "file", "image", "path", "name")
_TEXTS = ("text", "caption", "prompt", "description")
_EXAMPLE = 'Write lines such as {"file_name": "001.jpg", "text": "a caption"}.'


def is_captions(name: str) -> bool:
    """Return whether a file's name says that it holds captions."""
    return PurePosixPath(name).suffix.lower() in CAPTION_SUFFIXES


def read_captions(data: bytes, name: str) -> dict[str, str]:
    """Return captions by the stem of their picture. Raises DatasetRejected with the line that can't be read."""
    match PurePosixPath(name).suffix.lower():
        case ".jsonl":
            return _captions(_json_rows(decode_text(data), name), name)
        case ".csv":
            return _captions(_csv_rows(decode_text(data), name), name)
        case _:
            return {picture_stem(stem_of(name)): decode_caption(data)}


def picture_stem(name: str) -> str:
    """Return what a picture is known by in a list of captions, where it may be named with its suffix or without."""
    return stem_of(name) if is_picture(name) else name


def _captions(rows: Iterable[dict[str, Any]], name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        if number > _MOST_ROWS:
            raise DatasetRejected(f"{name} has more than {_MOST_ROWS:,} captions.", "Split it.")
        fields = {str(key).strip().lower(): value for key, value in row.items()}
        picture = next((fields[key] for key in _NAMES if isinstance(fields.get(key), str)), "")
        text = next((fields[key] for key in _TEXTS if isinstance(fields.get(key), str)), None)
        if not picture or text is None:
            raise DatasetRejected(f"{name} doesn't say picture and caption in entry {number}.", _EXAMPLE)
        found[picture_stem(picture.replace("\\", "/"))] = clean_caption(text)
    return found


def _json_rows(text: str, name: str) -> Iterable[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise DatasetRejected(f"{name} is not JSON in line {number}.", _EXAMPLE)
        yield row


def _csv_rows(text: str, name: str) -> Iterable[dict[str, Any]]:
    first = text.split("\n", 1)[0]
    delimiter = max((",", ";", "\t"), key=first.count)
    headed = any(cell.strip().strip('"').lower() in _NAMES for cell in first.split(delimiter))
    columns = None if headed else (_NAMES[0], _TEXTS[0])
    try:
        yield from csv.DictReader(io.StringIO(text, newline=""), columns, delimiter=delimiter)
    except csv.Error as error:
        raise DatasetRejected(f"{name} is not a table ({error}).", "Save it as CSV, in UTF-8.") from error
