"""The ledger: what every run costs, one small object in storage for each attempt.

An entry is opened before a run is handed over, at what it will cost by estimate, and settled at what it did cost once
it has ended. So the sum of all entries is what is spent and what is promised, whoever asks and whatever was restarted.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from backend.contract import BaseModelId, GenerationRequest, Message, Owner, RunId, RunKind, TrainingRequest
from backend.keys import ledger_prefix
from backend.runs.pace import expected_seconds
from backend.storage import Bucket

_AT_ONCE = 16  # requests to storage
_LONGEST_RUN = timedelta(days=4)  # a job's time to live, and some


class Entry(Message):
    """One attempt at one run. While it is open `seconds`, `dollars` and `pictures` are what is expected."""

    run_id: RunId
    attempt: int
    owner: Owner
    kind: RunKind
    base_model: BaseModelId
    opened_at: float  # seconds since 1970
    seconds: float  # on a GPU, of this attempt
    before_s: float = 0  # what attempts before it had taken
    dollars: float
    pictures: int = 0
    grid_id: str = ""  # of the grid whose cell it is
    settled: bool = False

    @property
    def job(self) -> str:
        """What it counts as among the runs under way: a grid is one, however many cells it has."""
        return self.grid_id or self.run_id

    @property
    def month(self) -> str:
        return month_of(self.opened_at)

    @property
    def key(self) -> str:
        return f"{ledger_prefix(self.month, self.owner)}{self.run_id}-{self.attempt}.json"


class _Known(NamedTuple):
    etag: str
    entry: Entry


class Ledger:
    """Opens, settles and lists entries. `gpu_price` is in dollars an hour; None on one's own computer."""

    def __init__(self, bucket: Bucket, gpu_price: float | None) -> None:
        self._bucket = bucket
        self.gpu_price = gpu_price
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ledger")

    def close(self) -> None:
        """Wait for nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def expect(self, request: TrainingRequest | GenerationRequest, before_s: float = 0) -> Entry:
        """Return what an attempt will cost, by estimate; nothing is stored."""
        assert request.run_id, "the app names every run before it submits it"  # noqa: S101
        seconds = max(0.0, expected_seconds(request) - before_s)
        return Entry(
            run_id=request.run_id,
            attempt=request.attempt,
            owner=request.owner,
            kind="train" if isinstance(request, TrainingRequest) else "image",
            base_model=request.base_model_id,
            opened_at=round(time.time(), 3),
            seconds=round(seconds, 2),
            before_s=before_s,
            dollars=self.price_of(seconds),
            pictures=0 if isinstance(request, TrainingRequest) else request.count or 1,
            grid_id="" if isinstance(request, TrainingRequest) else request.grid_id or "",
        )

    def open(self, entry: Entry) -> None:
        """Promise what an attempt is expected to cost."""
        self._bucket.put_message(entry.key, entry)

    def withdraw(self, entry: Entry) -> None:
        """Take back what was promised for an attempt that never began."""
        self._bucket.delete([entry.key])

    def settle(self, entry: Entry, total_s: float, pictures: int) -> None:
        """Write down what an attempt did cost. `total_s` may include the attempts before it."""
        seconds = total_s - entry.before_s if total_s >= entry.before_s else total_s
        paid = {"seconds": round(seconds, 2), "dollars": self.price_of(seconds), "pictures": pictures, "settled": True}
        self._bucket.put_message(entry.key, entry.model_copy(update=paid))

    def price_of(self, seconds: float) -> float:
        """Return what so much time on a GPU costs, in dollars; nothing on one's own computer."""
        return round(seconds / 3600 * (self.gpu_price or 0), 6)

    def of_month(self, month: str, owner: str = "") -> list[Entry]:
        """Return a month's entries, one owner's or everybody's: one listing, and a reading of what changed."""
        listed = list(self._bucket.list_all(ledger_prefix(month, owner)))
        new = [each for each in listed if (known := self._known.get(each.key)) is None or known.etag != each.etag]
        read = self._pool.map(lambda each: self._bucket.find_message(each.key, Entry), new)
        found = {each.key: _Known(each.etag, entry) for each, entry in zip(new, read, strict=True) if entry}
        with self._lock:
            oldest = ledger_prefix(month_of(time.time() - _LONGEST_RUN.total_seconds()))
            self._known = {key: known for key, known in self._known.items() if key >= oldest} | found
            return [self._known[each.key].entry for each in listed if each.key in self._known]

    def that_count(self, owner: str = "") -> list[Entry]:
        """Return this month's entries, and those from before of runs that may still be under way."""
        now = time.time()
        month, before = month_of(now), month_of(now - _LONGEST_RUN.total_seconds())
        older = self.of_month(before, owner) if before != month else []
        return [entry for entry in older if not entry.settled] + self.of_month(month, owner)

    def open_entries(self) -> list[Entry]:
        """Return the entries of runs whose end hasn't been written down yet, everybody's."""
        return [entry for entry in self.that_count() if not entry.settled]


def month_of(moment: float) -> str:
    """Return the month of a time in UTC, as '2026-11'."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m")
