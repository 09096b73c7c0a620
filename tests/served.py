"""A studio in a process of its own on a free port, as people start it: to be asked, stopped, killed, started anew."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

SERVE = (sys.executable, "-m", "app", "serve", "--no-open", "--port")
_ANSWERS_S, _ENDS_S = 90, 40  # on a busy computer


class ServedStudio:
    """`with ServedStudio({"ATELIER_HOME": ...}) as studio` answers at `studio.url`, and is stopped at the end.

    `environment` is added to the test's own. `command` is what starts it, but for the port; `options` are Popen's.
    """

    process: subprocess.Popen[Any]

    def __init__(self, environment: Mapping[str, str], command: Sequence[str] = SERVE, **options: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [*command, str(self.port)]
        self._options = {"env": os.environ | environment} | options

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop()

    def start(self) -> None:
        """Start it, and return once it answers."""
        self.process = subprocess.Popen(self._command, **self._options)
        deadline = time.monotonic() + _ANSWERS_S
        while not self._answers():
            assert self.process.poll() is None, "the studio ended instead of starting"
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the studio did not start within {_ANSWERS_S} s")
            time.sleep(0.2)

    def stop(self) -> None:
        """Ask it to end, as a host does, and see that it ends well."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(_ENDS_S) == 0

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/healthz").is_success
        return False


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
