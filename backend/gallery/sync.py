"""Keeps the gallery's index right: what is in storage is put in, what is gone is taken out, whoever did it.

A picture's record may come a day after the moment its id names, when its run waited so long: each look lists the newest
day again. What another app deleted further back is in a note of its own, and all the rest is looked through in the
background.
"""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import PurePosixPath

from backend.contract import ImageId, ImageRecord, Message, new_id, reverse_ms
from backend.errors import AtelierError
from backend.gallery.index import GalleryIndex
from backend.keys import ImageKeys, favourite_prefix, record_prefix, removal_prefix
from backend.storage import Bucket

# A job may wait and run for a day; a clock may be wrong.
WINDOW_S = 26 * 3600.0
_LISTED = 1000  # keys at a time
_AT_ONCE = 24  # requests to storage
_BATCH = 240  # records put in together
_FIRST = 60  # records put in before anything else, for the first page
_SOON_S = 1.0  # looks that follow each other faster are one
_REST_S = 40.0  # between two looks through everything, and at least
_REST_FACTOR = 20  # times what the last one took
_log = logging.getLogger(__name__)


class Removal(Message):
    """Pictures somebody deleted: `removals/….json`, kept for a day for the other apps' indexes."""

    image_ids: list[ImageId]


class _Owner:
    """How far the index of one owner is."""

    def __init__(self) -> None:
        self.at_work = False
        self.ready = threading.Event()  # a first page can be shown
        self.looked_at = float("-inf")
        self.looked_through_at = float("-inf")
        self.took_s = 0.0  # the last time everything was looked through
        self.trouble = ""  # why the last look came to nothing, in words
        self.applied: set[str] = set()  # removals
        self.unreadable: set[str] = set()  # records


class GallerySync:
    """Looks into storage in threads of its own whenever somebody looks at the gallery."""

    def __init__(self, bucket: Bucket, index: GalleryIndex) -> None:
        self._bucket = bucket
        self._index = index
        self._owners: dict[str, _Owner] = {}
        self._lock = threading.Lock()
        self._looking = ThreadPoolExecutor(4, thread_name_prefix="gallery")
        self._reading = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="gallery-records")
        self._closed = threading.Event()

    def close(self) -> None:
        """Stop at the next batch."""
        self._closed.set()
        self._looking.shutdown(wait=False, cancel_futures=True)
        self._reading.shutdown(wait=False, cancel_futures=True)

    def freshen(self, owner: str, wait_s: float) -> str:
        """Look for what changed; return when a page can be shown, or after `wait_s` while the look goes on.

        Returns why the last look came to nothing, in words; else ''.
        """
        with self._lock:
            state = self._owners.setdefault(owner, _Owner())
            if time.monotonic() - state.looked_at < _SOON_S:
                return ""
            if not state.at_work:
                state.at_work = True
                state.ready.clear()
                self._looking.submit(self._look, owner, state)
        state.ready.wait(wait_s)
        return state.trouble

    def note_removal(self, owner: str, image_ids: list[ImageId]) -> None:
        """Take deleted pictures out, here and in the indexes of other apps."""
        note = Removal(image_ids=image_ids)
        self._bucket.put_message(f"{removal_prefix(owner)}{new_id()}.json", note)
        self._index.remove(owner, image_ids)

    def look_through(self, owner: str) -> None:
        """Make the index what storage says, all of it. Blocks."""
        with self._lock:
            state = self._owners.setdefault(owner, _Owner())
        self._look_through(owner, state)
        self._mark_favourites(owner)

    def _look(self, owner: str, state: _Owner) -> None:
        """Make the index right for the newest day, deletions and favourites; and everything, when that is due."""
        try:
            if not self._index.is_whole(owner):
                self._look_through(owner, state)
            self._apply_removals(owner, state)
            self._reconcile(owner, state, reverse_ms(time.time() - WINDOW_S))
            self._mark_favourites(owner)
            state.looked_at = time.monotonic()
            state.trouble = ""
            state.ready.set()
            if time.monotonic() - state.looked_through_at > max(_REST_S, _REST_FACTOR * state.took_s):
                self._look_through(owner, state)
        except AtelierError as error:
            state.trouble = error.message
            _log.warning("the gallery's index could not be brought up to date: %s", error)
        except Exception:
            if not self._closed.is_set():  # else its threads have ended
                _log.exception("the gallery's index could not be brought up to date")
        finally:
            state.at_work = False
            state.ready.set()

    def _look_through(self, owner: str, state: _Owner) -> None:
        began = time.monotonic()
        self._reconcile(owner, state, "~")
        self._index.set_whole(owner)
        aged = f"{removal_prefix(owner)}{reverse_ms(time.time() - WINDOW_S)}"
        self._bucket.delete([each.key for each in self._bucket.list_all(removal_prefix(owner)) if each.key > aged])
        state.took_s = time.monotonic() - began
        state.looked_through_at = time.monotonic()

    def _apply_removals(self, owner: str, state: _Owner) -> None:
        for each in self._bucket.list_all(removal_prefix(owner)):
            if each.key not in state.applied and (removal := self._bucket.find_message(each.key, Removal)):
                self._index.remove(owner, removal.image_ids)
                state.applied.add(each.key)

    def _mark_favourites(self, owner: str) -> None:
        liked = self._bucket.list_all(favourite_prefix(owner))
        self._index.set_favourites(owner, {PurePosixPath(each.key).stem for each in liked})

    def _reconcile(self, owner: str, state: _Owner, up_to: str) -> None:
        """Make the index what storage says, from the newest picture to the id `up_to`, a stretch at a time."""
        after = ""
        while not self._closed.is_set():
            start = ImageKeys(owner, after).record if after else ""
            page = self._bucket.list_page(record_prefix(owner), after=start, limit=_LISTED)
            ids = [image_id for each in page if (image_id := PurePosixPath(each.key).stem) <= up_to]
            at_end = len(ids) < _LISTED
            last = up_to if at_end else ids[-1]
            known = self._index.ids(owner, behind=after, up_to=last)
            self._index.remove(owner, known.difference(ids))
            self._put_in(owner, state, [each for each in ids if each not in known and each not in state.unreadable])
            if at_end:
                return
            after = last

    def _put_in(self, owner: str, state: _Owner, image_ids: list[str]) -> None:
        """Read records and put them in, newest first, so that a page can be shown long before all are in."""
        left = iter(image_ids)
        size = _FIRST
        while (batch := list(islice(left, size))) and not self._closed.is_set():
            read = self._reading.map(lambda image_id: self._read(owner, state, image_id), batch)
            self._index.add(record for record in read if record)
            state.ready.set()
            size = _BATCH

    def _read(self, owner: str, state: _Owner, image_id: str) -> ImageRecord | None:
        """Return a picture's record; None when it has gone meanwhile, or can't be read, which must hold up nobody."""
        try:
            record = self._bucket.find_message(ImageKeys(owner, image_id).record, ImageRecord)
        except AtelierError as error:
            if not self._bucket.exists(ImageKeys(owner, image_id).record):
                return None
            _log.warning("a picture is left out of the gallery: %s", error)
            state.unreadable.add(image_id)
            return None
        return record if record and (record.owner, record.id) == (owner, image_id) else None
