"""What an app remembers of runs, so that a poll reads only what may have changed."""

import threading
import time
from typing import NamedTuple

from backend.contract import GenerationRequest, TrainingRequest
from backend.keys import RunKeys
from backend.runs.state import RunState

_MOST = 5000  # runs; some 10 KB each


class Remembered(NamedTuple):
    """The parts of a run that don't change any more."""

    request: TrainingRequest | GenerationRequest | None  # None where it has just changed
    ended: RunState | None  # of an attempt that did
    looked_at: float  # by the monotonic clock, when the look began


class Memory:
    """The runs that were last asked for.

    For `trusted_s` seconds a training that ended is taken to have been gone on with by nobody: another app may do so.
    """

    def __init__(self, trusted_s: float = 20.0) -> None:
        self._trusted_s = trusted_s
        self._remembered: dict[RunKeys, Remembered] = {}
        self._lock = threading.Lock()

    def of(self, keys: RunKeys) -> Remembered | None:
        """Return what is remembered of a run."""
        return self._remembered.get(keys)

    def end_of(self, keys: RunKeys) -> RunState | None:
        """Return how a run ended, where that can be shown without a look. Pictures that are drawn stay as they are."""
        known = self._remembered.get(keys)
        if known is None or known.ended is None:
            return None
        fresh = time.monotonic() - known.looked_at < self._trusted_s
        return known.ended if fresh or known.ended.generation else None

    def keep(self, keys: RunKeys, state: RunState, looked_at: float) -> None:
        """Remember what a look found, unless something newer is known."""
        with self._lock:
            known = self._remembered.get(keys)
            if known and known.looked_at > looked_at:
                return
            self._remembered[keys] = Remembered(state.request, state if state.ended else None, looked_at)
            if len(self._remembered) > _MOST:
                self._remembered.pop(next(iter(self._remembered)))  # the one that was first asked for

    def forget(self, keys: RunKeys) -> None:
        """Look again next time, whatever was found before or is being found out just now."""
        with self._lock:
            self._remembered[keys] = Remembered(None, None, time.monotonic())
