"""Whether what the studio stands on can be reached: both buckets and both endpoints. No answer holds a secret."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from backend.errors import AtelierError
from backend.runs.runpod_client import Endpoint
from backend.storage import Bucket, Storage

_DEADLINE_S = 3.0
_GOOD_FOR_S = 5.0
_NO_SUCH_KEY = "readyz"

Check = Callable[[], object]


class Report(NamedTuple):
    """'ok' or what is wrong, in a word or two, by what was looked at."""

    parts: dict[str, str]

    @property
    def ready(self) -> bool:
        return set(self.parts.values()) == {"ok"}


class Readiness:
    """Looks at everything at once, and at each thing once at a time however many ask."""

    def __init__(self, storage: Storage, endpoints: list[Endpoint]) -> None:
        self._checks: dict[str, Check] = {
            "lora bucket": lambda: _look_into(storage.loras),
            "output bucket": lambda: _look_into(storage.outputs),
            **{f"{endpoint.name} endpoint": endpoint.health for endpoint in endpoints},
        }
        self._pool = ThreadPoolExecutor(len(self._checks), thread_name_prefix="readiness")
        self._under_way: dict[str, Future[object]] = {}
        self._last = (float("-inf"), Report({}))
        self._lock = threading.Lock()

    def close(self) -> None:
        """Wait for nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def look(self) -> Report:
        """Return how things are, or were a few seconds ago; within three seconds, whatever doesn't answer."""
        # While somebody looks, others are told what is known: strangers may ask, and must not hold up the studio.
        if time.monotonic() - self._last[0] > _GOOD_FOR_S and self._lock.acquire(blocking=False):
            try:
                self._last = (time.monotonic(), self._look())
            finally:
                self._lock.release()
        return self._last[1]

    def _look(self) -> Report:
        for name, check in self._checks.items():
            # What hangs is not asked again while it does.
            if name not in self._under_way or self._under_way[name].done():
                self._under_way[name] = self._pool.submit(check)
        wait(self._under_way.values(), timeout=_DEADLINE_S)
        return Report({name: _said(future) for name, future in self._under_way.items()})


def _look_into(bucket: Bucket) -> None:
    bucket.exists(_NO_SUCH_KEY)


def _said(future: Future[object]) -> str:
    if not future.done():
        return f"silent for {_DEADLINE_S:g} s"
    error = future.exception()
    # The error's own words may hold addresses and names: they are for the log of whoever runs the studio.
    return "ok" if error is None else "not reachable" if isinstance(error, AtelierError) else "broken"
