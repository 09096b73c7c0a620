"""Keeps the ledger right while nobody looks, and is the hard stop: ends runs that have passed what they may cost."""

import logging
import threading

from backend.errors import AtelierError, NotFound
from backend.runs.runs import Runs
from backend.usage.caps import Caps
from backend.usage.ledger import Entry
from backend.usage.limits import Spent, UsageLimits

_EVERY_S = 20.0
_EVERY_S_WITHOUT_CAPS = 300.0  # listing costs
_LAST_LOOK_S = 3.0
_HINT = "What it had saved is kept. It can go on once the limit frees up."
_log = logging.getLogger(__name__)


class SpendingWatch:
    """Looks every few seconds, in a thread of its own, at the runs that are under way."""

    def __init__(self, runs: Runs, usage: UsageLimits) -> None:
        self._runs = runs
        self._usage = usage
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        bounded = self._usage.ledger.gpu_price and any(each.in_dollars for each in self._usage.caps)
        pause_s = _EVERY_S if bounded else _EVERY_S_WITHOUT_CAPS
        self._thread = threading.Thread(target=self._watch, args=(pause_s,), name="spending-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the present look."""
        self._closed.set()
        if self._thread:
            self._thread.join(_LAST_LOOK_S)

    def look(self) -> None:
        """Settle what has ended, and stop what has passed a limit."""
        self._runs.settle()
        if not any(each.in_dollars for each in self._usage.caps):
            return
        entries = [self._as_it_is(entry) for entry in self._usage.entries()]
        for owner in {entry.owner for entry in entries if not entry.settled}:
            theirs = [entry for entry in entries if entry.owner == owner]
            self._stop_beyond(self._usage.caps.of_owner(owner), theirs, "You have")
        self._stop_beyond(self._usage.caps.in_all, entries, "This studio has")

    def _watch(self, pause_s: float) -> None:
        while not self._closed.wait(pause_s):
            try:
                self.look()
            except AtelierError as error:
                _log.warning("spending could not be looked at: %s", error)
            except Exception:
                _log.exception("spending could not be looked at")

    def _as_it_is(self, entry: Entry) -> Entry:
        """An entry at what its run has cost by now, in place of its estimate."""
        if entry.settled:
            return entry
        try:
            seconds = max(0.0, self._runs.state(entry.owner, entry.run_id).paid_seconds - entry.before_s)
        except NotFound:
            seconds = 0.0  # it is being started at this moment
        return entry.model_copy(update={"seconds": seconds, "dollars": self._usage.ledger.price_of(seconds)})

    def _stop_beyond(self, caps: Caps, entries: list[Entry], who: str) -> None:
        spent = Spent.of(entries)
        for used, cap, when in (
            (spent.dollars_today, caps.dollars_a_day, "today"),
            (spent.dollars_this_month, caps.dollars_a_month, "this month"),
        ):
            if cap is not None and used >= cap:
                message = f"Stopped: {who.lower()} used ${used:.2f} of ${cap:.2f} {when}."
                for entry in entries:
                    if not entry.settled:
                        _log.warning("run %s is stopped: a limit of $%.2f is reached", entry.run_id, cap)
                        self._stop(entry, message)

    def _stop(self, entry: Entry, message: str) -> None:
        try:
            self._runs.stop(entry.owner, entry.run_id, message, _HINT)
        except AtelierError as error:
            # The others are to be stopped all the same; this one is tried again at the next look.
            _log.warning("run %s could not be stopped: %s", entry.run_id, error)
