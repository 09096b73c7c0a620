"""Ends the process groups of a parent that was killed before it could end them itself."""

import asyncio
import contextlib
import inspect
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence

from workers.environment import child_environment

GUARD_GRACE_S = 3.0


class Guard:
    """Ends the process groups of a parent that died without a chance to do so, even by SIGKILL.

    It is one small Python process that reads "+group" and "-group" lines from us. When its input ends, or its parent
    has changed, we are dead: it sends SIGTERM, waits `GUARD_GRACE_S`, sends SIGKILL and leaves.

    Start it after the last plain fork() of this process (the RunPod worker forks its ping at the start): a forked
    copy would hold the input open. `keep_open` are descriptors it shall hold until it is done, such as a lock.
    """

    def __init__(self, keep_open: Sequence[int] = ()) -> None:
        self._keep_open = tuple(keep_open)
        self._groups: set[int] = set()
        self._closed = False
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, group: int) -> None:
        """End this process group should we die."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """Leave this process group alone: it has ended."""
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the groups still watched, then the guard itself: at once when nothing is watched. Blocks."""
        self._closed = True
        os.close(self._input)
        self._process.wait(timeout=GUARD_GRACE_S + 5)

    def _start(self) -> None:
        reading, self._input = os.pipe()
        program = f"{inspect.getsource(_guard_groups)}\n_guard_groups({os.getpid()}, {GUARD_GRACE_S})"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
            pass_fds=self._keep_open,
            start_new_session=True,  # a Ctrl-C in the terminal, or the end of our own group, must not reach it
        )
        os.close(reading)

    def _tell(self, line: str) -> None:
        if self._closed:
            return  # of the children that it ended itself we hear later
        try:
            os.write(self._input, line.encode())
        except BrokenPipeError:
            # Somebody ended the guard. Without one a kill -9 of us would leave everything running.
            os.close(self._input)
            self._process.wait(timeout=5)
            self._start()
            os.write(self._input, "".join(f"+{group}\n" for group in self._groups).encode())


@contextlib.asynccontextmanager
async def guarded() -> AsyncIterator[Guard]:
    """Give a guard for as long as a piece of work lasts."""
    guard = Guard()
    try:
        yield guard
    finally:
        await asyncio.to_thread(guard.close)


def _guard_groups(parent: int, grace_s: float) -> None:
    """Be the guard: run alone, from its source text, by a bare interpreter (hence the imports inside)."""
    import os
    import select
    import signal
    import time

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    unread = b""
    while True:
        if not select.select([0], [], [], 1.0)[0]:
            if os.getppid() == parent:
                continue
            break  # a forked copy of our parent holds the input open
        received = os.read(0, 65536)
        if not received:
            break
        *lines, unread = (unread + received).split(b"\n")
        for line in lines:
            (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 0.0)):
        for group in list(groups):
            try:
                os.killpg(group, number)
            except OSError:
                groups.discard(group)
        deadline = time.monotonic() + wait_s
        while groups and time.monotonic() < deadline:
            time.sleep(0.05)
            for group in list(groups):
                try:
                    os.killpg(group, 0)
                except OSError:
                    groups.discard(group)
