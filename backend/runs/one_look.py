"""One look for all who ask at the same time: nobody is told what is older than their question."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class OneLook(Generic[K, T]):
    """Calls `look` once for everybody who asked for the same key since the last call began."""

    def __init__(self, look: Callable[[K], T]) -> None:
        self._look = look
        self._next: dict[K, Future[T]] = {}  # looks that haven't begun
        self._turn: dict[K, threading.Lock] = {}
        self._lock = threading.Lock()

    def __call__(self, key: K) -> T:
        """Return what a look that began after this call finds; raise what it raises."""
        with self._lock:
            awaited = self._next.get(key)
            if awaited is None:
                mine = self._next[key] = Future()
                turn = self._turn.setdefault(key, threading.Lock())
        if awaited is not None:
            return awaited.result()
        with turn:
            with self._lock:
                del self._next[key]
            try:
                mine.set_result(self._look(key))
            except BaseException as error:
                mine.set_exception(error)
            with self._lock:
                if key not in self._next:
                    self._turn.pop(key, None)
        return mine.result()
