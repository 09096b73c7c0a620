"""The gallery's index: a SQLite file made from the records in storage, to search them by. It may be deleted any time.

Everything in it belongs to an owner, who is named in each question asked of it.
"""

import contextlib
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from backend.contract import ImageRecord, reverse_ms

Shape = Literal["portrait", "landscape", "square"]

_VERSION = 1  # as the schema says; an index of another version is made anew
_SUFFIXES = ("", "-journal", "-wal", "-shm")
_BUSY_S = 10.0
_WORDS = 12  # of a search
_LAST = "~"  # behind every id
_SCHEMA = """
CREATE TABLE picture (
  number INTEGER PRIMARY KEY, owner TEXT NOT NULL, id TEXT NOT NULL, prompt TEXT NOT NULL, base_model TEXT NOT NULL,
  width INTEGER NOT NULL, height INTEGER NOT NULL, favourite INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX picture_by_id ON picture (owner, id);
CREATE INDEX picture_by_base_model ON picture (owner, base_model, id);
CREATE INDEX picture_by_favourite ON picture (owner, id) WHERE favourite;
CREATE TABLE used_lora (owner TEXT NOT NULL, lora TEXT NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY (owner, lora, id)) WITHOUT ROWID;
CREATE INDEX used_lora_by_id ON used_lora (owner, id);
CREATE TABLE whole (owner TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (
  prompt, content='picture', content_rowid='number', tokenize='unicode61 remove_diacritics 2');
CREATE TRIGGER picture_in AFTER INSERT ON picture BEGIN
  INSERT INTO words (rowid, prompt) VALUES (new.number, new.prompt);
END;
CREATE TRIGGER picture_out AFTER DELETE ON picture BEGIN
  INSERT INTO words (words, rowid, prompt) VALUES ('delete', old.number, old.prompt);
  DELETE FROM used_lora WHERE owner = old.owner AND id = old.id;
END;
PRAGMA user_version = 1;
"""


class Wanted(NamedTuple):
    """Which pictures somebody looks for; what is empty doesn't matter."""

    words: str = ""
    lora: str = ""  # its key
    base_model: str = ""
    shape: Shape | None = None
    favourites: bool = False
    since: float = 0  # seconds since 1970
    until: float = 0


class Row(NamedTuple):
    """What a tile needs."""

    image_id: str
    width: int  # pixels
    height: int
    prompt: str
    favourite: bool


class Tally(NamedTuple):
    """What an owner's pictures were made with: ids or keys, the most used first, each with how many pictures."""

    pictures: int
    base_models: list[tuple[str, int]]
    loras: list[tuple[str, int]]


class GalleryIndex:
    """Answers from the file at `path`, which is made when it isn't there, or can't be read any more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._making = threading.Lock()

    def add(self, records: Iterable[ImageRecord]) -> None:
        """Put pictures in; those that are there stay as they are."""
        with self._open() as index:
            for record in records:
                values = (record.owner, record.id, record.prompt, record.base_model, record.width, record.height)
                index.execute(
                    "INSERT OR IGNORE INTO picture (owner, id, prompt, base_model, width, height) VALUES (?,?,?,?,?,?)",
                    values,
                )
                loras = [(record.owner, use.key, record.id) for use in record.loras]
                index.executemany("INSERT OR IGNORE INTO used_lora VALUES (?, ?, ?)", loras)

    def remove(self, owner: str, image_ids: Iterable[str]) -> None:
        """Take pictures out."""
        with self._open() as index:
            index.executemany("DELETE FROM picture WHERE owner = ? AND id = ?", [(owner, each) for each in image_ids])

    def set_favourites(self, owner: str, image_ids: set[str]) -> None:
        """Mark exactly these pictures as favourites."""
        with self._open() as index:
            marked = {
                each for (each,) in index.execute("SELECT id FROM picture WHERE owner = ? AND favourite", (owner,))
            }
            changes = [(1, owner, each) for each in image_ids - marked] + [
                (0, owner, each) for each in marked - image_ids
            ]
            index.executemany("UPDATE picture SET favourite = ? WHERE owner = ? AND id = ?", changes)

    def mark(self, owner: str, image_ids: Iterable[str], favourite: bool) -> None:
        """Mark pictures as favourites, or no longer."""
        with self._open() as index:
            changes = [(favourite, owner, each) for each in image_ids]
            index.executemany("UPDATE picture SET favourite = ? WHERE owner = ? AND id = ?", changes)

    def ids(self, owner: str, *, behind: str = "", up_to: str = _LAST) -> set[str]:
        """Return the ids known in a stretch of the gallery, `up_to` included."""
        asked = "SELECT id FROM picture WHERE owner = ? AND id > ? AND id <= ?"
        with self._open() as index:
            return {each for (each,) in index.execute(asked, (owner, behind, up_to))}

    def is_whole(self, owner: str) -> bool:
        """Return whether all of the owner's pictures were put in once."""
        with self._open() as index:
            return index.execute("SELECT 1 FROM whole WHERE owner = ?", (owner,)).fetchone() is not None

    def set_whole(self, owner: str) -> None:
        """Note that all of the owner's pictures are in."""
        with self._open() as index:
            index.execute("INSERT OR IGNORE INTO whole VALUES (?)", (owner,))

    def page(self, owner: str, wanted: Wanted, after: str, limit: int) -> list[Row]:
        """Return the pictures behind the id `after`, newest first."""
        conditions, values = _conditions(owner, wanted, after)
        asked = f"SELECT id, width, height, prompt, favourite FROM picture WHERE {conditions} ORDER BY id LIMIT ?"  # noqa: S608
        with self._open() as index:
            rows = index.execute(asked, (*values, limit)).fetchall()
        return [Row(image_id, width, height, prompt, bool(liked)) for image_id, width, height, prompt, liked in rows]

    def count(self, owner: str, wanted: Wanted) -> int:
        """Return how many pictures there are of those wanted."""
        conditions, values = _conditions(owner, wanted, "")
        with self._open() as index:
            found: int = index.execute(f"SELECT count(*) FROM picture WHERE {conditions}", values).fetchone()[0]  # noqa: S608
        return found

    def tally(self, owner: str) -> Tally:
        """Return what the owner's pictures were made with."""
        by_base_model = (
            "SELECT base_model, count(*) FROM picture WHERE owner = ? GROUP BY base_model ORDER BY 2 DESC, 1"
        )
        by_lora = "SELECT lora, count(*) FROM used_lora WHERE owner = ? GROUP BY lora ORDER BY 2 DESC, 1"
        with self._open() as index:
            base_models = index.execute(by_base_model, (owner,)).fetchall()
            loras = index.execute(by_lora, (owner,)).fetchall()
        return Tally(sum(count for _, count in base_models), base_models, loras)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Give the index for one transaction. One that is damaged or of another version is thrown away first."""
        index = self._connection()
        try:
            with index:
                yield index
        finally:
            index.close()

    def _connection(self) -> sqlite3.Connection:
        with self._making:
            try:
                return self._connect()
            except sqlite3.DatabaseError:
                for suffix in _SUFFIXES:
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                return self._connect()

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        index = sqlite3.connect(self._path, timeout=_BUSY_S)
        try:
            version = index.execute("PRAGMA user_version").fetchone()[0]
            # What a crash of the computer takes from it is found again in storage.
            index.execute("PRAGMA synchronous = OFF")
            if version == 0:
                # Somebody else who shares the file may be making it at the same moment.
                with contextlib.suppress(sqlite3.OperationalError):
                    index.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} COMMIT")
                version = index.execute("PRAGMA user_version").fetchone()[0]
            if version != _VERSION:
                raise sqlite3.DatabaseError(f"an index of version {version}")
        except sqlite3.DatabaseError:
            index.close()
            raise
        return index


def _conditions(owner: str, wanted: Wanted, after: str) -> tuple[str, list[Any]]:
    """Return what a picture has to be, as SQL with its values."""
    behind = max(after, reverse_ms(wanted.until) if wanted.until else "")
    conditions, values = ["owner = ?", "id > ?"], [owner, behind]
    if wanted.since:
        conditions.append("id <= ?")
        values.append(reverse_ms(wanted.since) + _LAST)
    if words := re.findall(r"\w+", wanted.words)[:_WORDS]:
        # The plus keeps SQLite from walking all that match: there may be many, and one page is wanted.
        conditions.append("+number IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(" ".join(f'"{word}"*' for word in words))
    if wanted.lora:
        conditions.append("id IN (SELECT id FROM used_lora WHERE owner = ? AND lora = ?)")
        values += [owner, wanted.lora]
    if wanted.base_model:
        conditions.append("base_model = ?")
        values.append(wanted.base_model)
    if wanted.favourites:
        conditions.append("favourite")
    if wanted.shape:
        conditions.append(
            {"portrait": "height > width", "landscape": "width > height", "square": "width = height"}[wanted.shape]
        )
    return " AND ".join(conditions), values
