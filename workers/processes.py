"""Owns child processes: starting one from a list, reading its lines, and ending it with all that it started.

What a child is for - a server, a worker, a training run - is its caller's business. Nothing here outlives its parent:
every child leads a process group of its own, and a `Guard` ends it should we be killed.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from backend.errors import MachineError
from workers.guard import Guard

LONGEST_LINE = 8192  # bytes; a longer one is cut into pieces, so that a child can't fill our memory
LINES_KEPT = 60


class Child:
    """A running child process, made by `start_child`."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", lines: "_Lines", guard: Guard | None) -> None:
        self.name = name
        self.pid = process.pid  # the id of its process group too
        self._process = process
        self._lines = lines
        self._guard = guard
        self._exited = asyncio.get_running_loop().create_future()
        self._ended = asyncio.create_task(self._end())
        threading.Thread(target=self._await_exit, args=(asyncio.get_running_loop(),), daemon=True).start()

    @property
    def running(self) -> bool:
        return not self._ended.done()

    def last_lines(self, count: int = 10) -> list[str]:
        """Return the last lines it wrote, oldest first."""
        return list(self._lines.kept)[-count:]

    async def wait(self) -> int:
        """Wait for its end and return its exit code: negative for a signal, as in `subprocess`.

        By then whatever was left of its process group has been killed and its last lines have been read.
        """
        return await asyncio.shield(self._ended)

    async def stop(self, grace_s: float = 5.0) -> int:
        """Ask its process group to end, kill it after `grace_s`, and return the exit code."""
        if self.running and grace_s > 0:
            _signal_group(self.pid, signal.SIGTERM)
            await asyncio.wait([self._ended], timeout=grace_s)
        if self.running:
            _signal_group(self.pid, signal.SIGKILL)
        return await self.wait()

    async def write(self, text: str, timeout_s: float = 10.0) -> None:
        """Write to its standard input. Raises MachineError when it has ended or takes nothing for `timeout_s`."""
        if self._process.stdin is None or self._process.stdin.closed:
            raise MachineError(f"{self.name} has no open standard input.", "Start it with stdin=True.")
        rest = memoryview(text.encode())
        deadline = time.monotonic() + timeout_s
        while rest:
            try:
                rest = rest[os.write(self._process.stdin.fileno(), rest) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise MachineError(f"{self.name} read none of its standard input for {timeout_s:g} s.") from None
                await asyncio.sleep(0.01)
            except BrokenPipeError:
                raise MachineError(f"{self.name} ended while it was written to. {self._last_words()}") from None

    def close_stdin(self) -> None:
        """End its standard input."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def wait_until_ready(
        self, answers: Callable[[], Awaitable[bool]], timeout_s: float, every_s: float = 0.05
    ) -> None:
        """Wait until `answers()` is true. Raises MachineError, with its last lines, if it ends first or is too slow."""
        deadline = time.monotonic() + timeout_s
        while not await answers():
            if not self.running:
                code = describe_exit(await self.wait())
                raise MachineError(f"{self.name} {code} before it was ready. {self._last_words()}")
            if time.monotonic() > deadline:
                raise MachineError(f"{self.name} was not ready after {timeout_s:g} s. {self._last_words()}")
            await asyncio.sleep(every_s)

    def _last_words(self) -> str:
        lines = self.last_lines()
        return "Its last lines:\n" + "\n".join(lines) if lines else "It wrote nothing."

    def _await_exit(self, loop: asyncio.AbstractEventLoop) -> None:
        # A thread and not asyncio's own subprocess: that one reports an exit only once every pipe is closed
        # (base_subprocess.py in 3.11.7), and a grandchild may hold them open for ever.
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(self._exited.set_result, code)

    async def _end(self) -> int:
        code: int = await self._exited
        _signal_group(self.pid, signal.SIGKILL)  # the worker SDK's ping outlives a killed worker
        if self._guard is not None:
            self._guard.forget(self.pid)
        self.close_stdin()
        await self._lines.finish(timeout_s=1.0)
        return code


async def start_child(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    name: str = "",
    folder: Path | None = None,
    guard: Guard | None = None,
    on_line: Callable[[str], None] | None = None,
    stdin: bool = False,
) -> Child:
    """Start a program as the leader of its own process group and read what it writes, output and errors together.

    `environment` is all that it gets: see `workers.environment`. `on_line` receives every line that is not empty, cut
    at both line feeds and carriage returns, so that progress bars arrive while they move. It runs on the event loop
    and must be quick. Raises MachineError when the program can't be started.
    """
    name = name or Path(command[0]).name
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 - a few milliseconds; what takes time is read below
            [str(part) for part in command],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env=dict(environment),
            cwd=folder,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        os.close(reading)
        raise MachineError(f"{name} could not be started: {error}") from error
    finally:
        os.close(writing)
    if guard is not None:
        guard.watch(process.pid)
    if process.stdin is not None:
        os.set_blocking(process.stdin.fileno(), False)
    lines = _Lines(on_line)
    await asyncio.get_running_loop().connect_read_pipe(lambda: lines, os.fdopen(reading, "rb", buffering=0))
    return Child(name, process, lines, guard)


def describe_exit(code: int) -> str:
    """Return words for an exit code: "ended with exit code 1", "was ended by SIGKILL"."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


class _Lines(asyncio.Protocol):
    """Cuts a stream of bytes into lines, keeping the last few."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self.kept: deque[str] = deque(maxlen=LINES_KEPT)
        self._on_line = on_line
        self._partial = b""
        self._loop = asyncio.get_running_loop()
        self._finished = self._loop.create_future()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *complete, partial = (self._partial + data).replace(b"\r", b"\n").split(b"\n")
        while len(partial) > LONGEST_LINE:
            complete.append(partial[:LONGEST_LINE])
            partial = partial[LONGEST_LINE:]
        self._partial = partial
        for line in complete:
            self._emit(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self._emit(self._partial)
        if not self._finished.done():
            self._finished.set_result(None)

    async def finish(self, timeout_s: float) -> None:
        """Read to the end, or give up where a process that left the group still holds the pipe."""
        await asyncio.wait([self._finished], timeout=timeout_s)
        if self._transport is not None:
            self._transport.close()
        await asyncio.sleep(0)  # the transport closes its file in the next turn of the loop

    def _emit(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if not text:
            return
        self.kept.append(text)
        if self._on_line is not None:
            try:
                self._on_line(text)
            except Exception as error:
                # Raised further, it would close the pipe and so end the child over a line we could not read.
                self._loop.call_exception_handler({"message": f"reading the line {text!r} failed", "exception": error})


def _signal_group(group: int, number: signal.Signals) -> None:
    # ProcessLookupError: nobody is left. PermissionError: macOS says so of a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
