"""The wire to the parent: events out, wishes in, and an end to this process when the parent is gone."""

import os
import select
import threading

from backend.contract import Wish
from workers.training.engines.events import MAX_TEXT, STOP, WISHES, Event, Failed


class StopRequested(Exception):
    """The parent wants the step saved and the process ended."""


class Parent:
    """Whoever started this process and reads its standard output."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._stop = threading.Event()
        self._wishes: set[Wish] = set()
        self._may_exit = True
        threading.Thread(target=self._watch, name="parent", daemon=True).start()

    def tell(self, event: Event) -> None:
        """Say something. One write, so that no other writer's line gets in between."""
        if isinstance(event, Failed):
            event = event.model_copy(update={"message": event.message[:MAX_TEXT], "hint": event.hint[:MAX_TEXT]})
        os.write(1, event.model_dump_json().encode() + b"\n")

    def expect_stop(self) -> None:
        """From now on a wish to stop waits for `check`; until then nothing is lost and it ends the process at once."""
        self._may_exit = False

    def check(self) -> None:
        """Raise StopRequested when the parent wants an end."""
        if self._stop.is_set():
            raise StopRequested

    def take_wishes(self) -> set[Wish]:
        """Return what the parent asked for since the last call."""
        wishes, self._wishes = self._wishes, set()
        return wishes

    def _watch(self) -> None:
        while True:
            readable, _, _ = select.select([0], [], [], 1.0)
            said = os.read(0, 1024) if readable else b""
            gone = (readable and not said) or os.getppid() != self._parent
            if gone or (STOP.encode() in said and self._may_exit):
                # Not sys.exit: the main thread may sit in native code for minutes.
                os._exit(0 if said else 1)
            if STOP.encode() in said:
                self._stop.set()
            self._wishes |= {wish for wish, line in WISHES.items() if line.encode() in said}
