"""How much everybody's things take in storage. Counted by listing, which costs, so a count is good for some minutes."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from backend.storage import Storage, Stored

_GOOD_FOR_S = 300.0
_IN_LORAS = ("datasets", "runs", "loras")
_IN_OUTPUTS = ("images", "thumbs", "records", "starts", "grids", "favourites")


class Stock(NamedTuple):
    """What somebody has in storage."""

    bytes: int = 0
    files: int = 0

    def and_more(self, count: int, files: int = 1) -> "Stock":
        return Stock(self.bytes + count, self.files + files)


class _Counted(NamedTuple):
    at: float
    stock: Stock


class StorageUse:
    """Counts, and adds what comes in between two counts through this app."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._counted: dict[str, _Counted] = {}
        self._all: tuple[float, dict[str, Stock]] | None = None
        self._counting: Future[dict[str, Stock]] | None = None
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="storage-use")

    def close(self) -> None:
        """Wait for nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def of_owner(self, owner: str) -> Stock:
        """Return what one person has."""
        known = self._counted.get(owner)
        if known is None or time.monotonic() - known.at > _GOOD_FOR_S:
            stock = Stock()
            for each in self._listed(f"{owner}/"):
                stock = stock.and_more(each.bytes)
            known = _Counted(time.monotonic(), stock)
            with self._lock:
                now = time.monotonic()
                self._counted = {name: each for name, each in self._counted.items() if now - each.at < _GOOD_FOR_S}
                self._counted[owner] = known
        return known.stock

    def of_everybody(self, wait_s: float) -> dict[str, Stock] | None:
        """Return what each person has; None while that is still being counted after `wait_s`."""
        with self._lock:
            if self._all and time.monotonic() - self._all[0] < _GOOD_FOR_S:
                return self._all[1]
            self._counting = self._counting or self._pool.submit(self._count_all)
            counting = self._counting
        try:
            return counting.result(wait_s)
        except TimeoutError:
            return self._all[1] if self._all else None

    def note(self, owner: str, count: int) -> None:
        """Add a file that has just been stored."""
        with self._lock:
            if known := self._counted.get(owner):
                self._counted[owner] = known._replace(stock=known.stock.and_more(count))
            if self._all:
                at, everybody = self._all
                self._all = (at, everybody | {owner: everybody.get(owner, Stock()).and_more(count)})

    def _count_all(self) -> dict[str, Stock]:
        found: dict[str, Stock] = defaultdict(Stock)
        try:
            for each in self._listed(""):
                owner = each.key.split("/")[1]
                found[owner] = found[owner].and_more(each.bytes)
            with self._lock:
                self._all = (time.monotonic(), dict(found))
            return dict(found)
        finally:
            self._counting = None

    def _listed(self, below: str) -> Iterator[Stored]:
        for kind in _IN_LORAS:
            yield from self._storage.loras.list_all(f"{kind}/{below}")
        for kind in _IN_OUTPUTS:
            yield from self._storage.outputs.list_all(f"{kind}/{below}")
