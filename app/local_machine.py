"""The machine under the studio: RunPod and R2 when they are configured, else a local one, started and stopped here."""

import json
import queue
import subprocess
import sys
import threading
import time

from backend.errors import MachineError
from backend.settings import Settings

START_S = 60.0
STOP_S = 20.0


class LocalMachine:
    """Starts the local machine as a child process, which ends when this process does, however it ends."""

    def __init__(self, settings: Settings) -> None:
        self._given = settings
        self._process: subprocess.Popen[str] | None = None
        self._ready: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="local-machine", daemon=True)

    def start(self) -> None:
        """Begin starting it, unless RunPod is configured."""
        if self._given.in_cloud:
            return
        command = [sys.executable, "-m", "workers.local.machine", "--home", str(self._given.atelier_home)]
        # Its standard input stays open for as long as we live: the machine stops when it closes.
        # A session of its own keeps the terminal's Ctrl-C from reaching it before we have let go of it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._reader.start()

    def settings(self) -> Settings:
        """Return the settings of a studio on this machine, once it is ready. Raises MachineError after a minute."""
        if self._process is None:
            return self._given
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                line = self._ready.get(timeout=0.2)
            except queue.Empty:
                continue
            if not line:
                raise MachineError("The local machine could not start.", "What it said is above.")
            return self._given.model_copy(update=_fields(json.loads(line)))
        raise MachineError(
            f"The local machine was not ready within {START_S:.0f} s.", f"See {self._given.atelier_home}/logs."
        )

    def stop(self) -> None:
        """Stop it and everything it started."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            self._process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its guard ends the rest
            self._process.wait()
        self._reader.join(STOP_S)

    def _read(self) -> None:
        """Hand on the line that says it is ready, or '' when it ended without one."""
        assert self._process and self._process.stdout  # noqa: S101 - started with a pipe
        with self._process.stdout as lines:
            for line in lines:
                self._ready.put(line)
        self._ready.put("")


def _fields(variables: dict[str, str]) -> dict[str, object]:
    """Return the environment variables the machine names as fields of Settings, checked as those are."""
    named = {name.lower(): value for name, value in variables.items()}
    return {name: getattr(Settings.model_validate(named), name) for name in named}
