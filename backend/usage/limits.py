"""Decides who may start or store more, and says what has been used, by the ledger and a count of storage.

A run's promise is in the ledger before it is counted, so of two that are started at once, through two apps, each sees
the other: the caps hold, and at worst both are asked to try again.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from backend.contract import GenerationRequest, TrainingRequest
from backend.errors import LimitReached, StorageError
from backend.usage.caps import Caps, CapTable
from backend.usage.ledger import Entry, Ledger, month_of
from backend.usage.storage_use import Stock, StorageUse

_COUNTING_S = 5.0  # what a count of everybody's things is waited for


class Spent(NamedTuple):
    """What the ledger says of one person, or of everybody: running work at its estimate."""

    running_jobs: int = 0
    pictures_today: int = 0
    pictures_this_month: int = 0
    dollars_today: float = 0.0
    dollars_this_month: float = 0.0
    gpu_seconds_this_month: float = 0.0

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Spent":
        """Add entries up: all that are open, and those of this month."""
        now = time.time()
        listed = list(entries)
        this_month = [entry for entry in listed if entry.month == month_of(now)]
        today = [entry for entry in this_month if entry.opened_at >= _midnight_before(now)]
        return cls(
            running_jobs=len(_jobs_under_way(listed)),
            pictures_today=sum(entry.pictures for entry in today),
            pictures_this_month=sum(entry.pictures for entry in this_month),
            dollars_today=sum(entry.dollars for entry in today),
            dollars_this_month=sum(entry.dollars for entry in this_month),
            gpu_seconds_this_month=sum(entry.seconds for entry in this_month),
        )


class Admission(NamedTuple):
    """A run that may begin: its entry in the ledger, and for how long its money lasts (None: for ever)."""

    entry: Entry
    seconds: float | None


class UsageLimits:
    """The one place that says no."""

    def __init__(self, caps: CapTable, ledger: Ledger, storage_use: StorageUse) -> None:
        self.caps = caps
        self.ledger = ledger
        self._storage_use = storage_use

    def close(self) -> None:
        """Wait for nothing more."""
        self.ledger.close()
        self._storage_use.close()

    def bounds(self, owner: str) -> bool:
        """Return whether any limit applies to somebody's runs, so that the ledger has to be right first."""
        return self.caps.of_owner(owner).any or self.caps.in_all.any

    def admit(self, request: TrainingRequest | GenerationRequest, before_s: float = 0) -> Admission:
        """Enter a run into the ledger before it begins. Raises LimitReached: which, how much, until when."""
        entry = self.ledger.expect(request, before_s)
        owner, left = request.owner, [float("inf")]
        if self.bounds(owner):
            self.check_storage(owner, 0)
        self.ledger.open(entry)
        try:
            left += self._money_beside(entry)
        except BaseException:
            with suppress(StorageError):
                self.ledger.withdraw(entry)
            raise
        dollars, price = min(left), self.ledger.gpu_price
        bounded = price and dollars < float("inf")
        return Admission(entry, dollars / price * 3600 if price and bounded else None)

    def check_together(self, requests: Sequence[GenerationRequest]) -> None:
        """Return when pictures that are to be asked for one by one may all be made. Raises LimitReached, as `admit`."""
        entries = [self.ledger.expect(request) for request in requests]
        if entries and self.bounds(entries[0].owner):
            pictures, dollars = sum(each.pictures for each in entries), sum(each.dollars for each in entries)
            self._money_beside(entries[0].model_copy(update={"pictures": pictures, "dollars": dollars}))

    def within_its_time(self, request: TrainingRequest | GenerationRequest) -> TrainingRequest | GenerationRequest:
        """Return a request as it may be made: a training stops after the minutes it may take, its last step kept."""
        most = self.caps.of_owner(request.owner).training_minutes
        if most is None or not isinstance(request, TrainingRequest):
            return request
        return request.model_copy(update={"max_minutes": min(most, request.max_minutes or most)})

    def check_storage(self, owner: str, more_bytes: int) -> None:
        """Return when there is room for a file. Raises LimitReached: how much there is, and what to do."""
        caps = self.caps.of_owner(owner)
        if caps.storage_bytes is not None or caps.files is not None:
            _refuse_to_store(caps, self._storage_use.of_owner(owner), more_bytes, "Your things take", "Delete some")
        caps = self.caps.in_all
        if caps.storage_bytes is None and caps.files is None:
            return
        if everybody := self.stock_of_everybody():
            take = "Everybody's things in this studio take"
            _refuse_to_store(caps, stock_in_all(everybody), more_bytes, take, "Ask its owner")

    def note_stored(self, owner: str, count: int) -> None:
        """Count a file that has just been stored."""
        self._storage_use.note(owner, count)

    def stock_of(self, owner: str) -> Stock:
        """Return what somebody has in storage."""
        return self._storage_use.of_owner(owner)

    def stock_of_everybody(self) -> dict[str, Stock] | None:
        """Return what everybody has in storage; None while it is being counted."""
        return self._storage_use.of_everybody(_COUNTING_S)

    def spent_by_everybody(self) -> dict[str, Spent]:
        """Return what each person has used, by owner."""
        by_owner: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries(""):
            by_owner[entry.owner].append(entry)
        return {owner: Spent.of(entries) for owner, entries in by_owner.items()}

    def _money_beside(self, entry: Entry) -> list[float]:
        """Return the dollars each limit leaves beside what others take. Raises LimitReached where one has no room."""
        left: list[float] = []
        for caps, whose in ((self.caps.of_owner(entry.owner), entry.owner), (self.caps.in_all, "")):
            if caps.any:
                others = [each for each in self.entries(whose) if each.key != entry.key]
                who = "You have" if whose else "This studio has"
                _refuse_another_job(caps, others, entry, who)
                spent = Spent.of(others)
                _refuse_beyond(caps, spent, entry, who)
                left += _money_left(caps, spent)
        return left

    def entries(self, owner: str = "") -> list[Entry]:
        """Return this month's entries and those that are open since before: one person's, or everybody's."""
        return self.ledger.that_count(owner)


def total(spent: Iterable[Spent]) -> Spent:
    """Return several people's figures as one."""
    return Spent(*map(sum, columns)) if (columns := list(zip(*spent, strict=True))) else Spent()


def stock_in_all(everybody: dict[str, Stock]) -> Stock:
    """Return what several people have as one."""
    return Stock(sum(each.bytes for each in everybody.values()), sum(each.files for each in everybody.values()))


def _jobs_under_way(entries: Iterable[Entry]) -> set[str]:
    return {entry.job for entry in entries if not entry.settled}


def _refuse_another_job(caps: Caps, others: list[Entry], entry: Entry, who: str) -> None:
    running = len(_jobs_under_way(others) - {entry.job})
    if caps.running_jobs is not None and running >= caps.running_jobs:
        raise LimitReached(
            f"{who} {running} of {caps.running_jobs:g} runs under way.", "Wait for one to end, or stop one."
        )


def _refuse_beyond(caps: Caps, spent: Spent, entry: Entry, who: str) -> None:
    day, month = f"It frees up {_until(_next_day())}.", f"It frees up {_until(_next_month())}."
    used, cap = spent.pictures_today, caps.pictures_a_day
    if cap is not None and entry.pictures and used + entry.pictures > cap:
        fewer = f" Up to {cap - used:g} can be made before." if cap > used else ""
        more = f"this would make {entry.pictures}"
        raise LimitReached(f"{who} used {used} of {cap:g} pictures today; {more}.", day + fewer)
    for dollars, cap, when, hint in (
        (spent.dollars_today, caps.dollars_a_day, "today", day),
        (spent.dollars_this_month, caps.dollars_a_month, "this month", month),
    ):
        if cap is not None and dollars + entry.dollars > cap:
            more = f"; this would take about ${entry.dollars:.2f} more"
            raise LimitReached(f"{who} used ${dollars:.2f} of ${cap:.2f} {when}{more}.", hint)


def _money_left(caps: Caps, spent: Spent) -> list[float]:
    pairs = ((caps.dollars_a_day, spent.dollars_today), (caps.dollars_a_month, spent.dollars_this_month))
    return [max(0.0, cap - used) for cap, used in pairs if cap is not None]


def _refuse_to_store(caps: Caps, stock: Stock, more_bytes: int, take: str, hint: str) -> None:
    hint += ": pictures, datasets, LoRAs or old runs are what takes room."
    cap = caps.storage_bytes
    # Without more to come there has to be room for something at least.
    if cap is not None and stock.bytes + max(more_bytes, 1) > cap:
        raise LimitReached(f"{take} {_gigabytes(stock.bytes)} of {_gigabytes(cap)} GB.", hint)
    if caps.files is not None and stock.files >= caps.files:
        raise LimitReached(f"{take} {stock.files:,} of {caps.files:,g} files.", hint)


def _gigabytes(count: float) -> str:
    return f"{count / 2**30:.2f}"


def _midnight_before(moment: float) -> float:
    return moment - moment % 86_400  # UTC has days of one length


def _next_day() -> datetime:
    now = datetime.now(UTC)
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def _next_month() -> datetime:
    first = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def _until(moment: datetime) -> str:
    minutes = max(1, int((moment - datetime.now(UTC)).total_seconds() // 60))
    if minutes >= 2 * 24 * 60:
        wait = f"in {minutes // (24 * 60)} days"
    elif minutes >= 60:
        wait = f"in {minutes // 60} h {minutes % 60} min"
    else:
        wait = f"in {minutes} min"
    return f"{wait}, on {moment:%-d %B} at 00:00 UTC"
