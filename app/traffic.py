"""The traffic: how many requests came, how they were answered and how fast; and the last ones let finish at the end."""

import logging
import threading
import time
from bisect import bisect_left
from collections import Counter
from typing import NamedTuple

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_SLOW_S = 3.0
_AREAS = frozenset({"api", "media", "sample", "gradio_api", "static", "assets", "login", "logout", "metrics"})
# These stay open for as long as a page does.
_STREAMS = ("/gradio_api/heartbeat/", "/gradio_api/queue/data", "/gradio_api/startup-events")
_log = logging.getLogger("atelier.requests")


class Kind(NamedTuple):
    """What requests are counted by: few enough values for a metric."""

    method: str
    area: str
    status: int


class Traffic:
    """Counts, from whatever thread."""

    def __init__(self) -> None:
        self.requests: Counter[Kind] = Counter()
        self.seconds: Counter[float] = Counter()  # by the bucket's upper end
        self.seconds_in_all = 0.0
        self._under_way = 0
        self._closing = False
        self._changed = threading.Condition()

    def begin(self) -> bool:
        """Count a request that has come; False when none is taken any more."""
        with self._changed:
            if not self._closing:
                self._under_way += 1
            return not self._closing

    def end(self, kind: Kind, seconds: float) -> None:
        """Count its answer."""
        upper = (*BUCKETS_S, float("inf"))[bisect_left(BUCKETS_S, seconds)]
        with self._changed:
            self._under_way -= 1
            self.requests[kind] += 1
            self.seconds[upper] += 1
            self.seconds_in_all += seconds
            self._changed.notify_all()

    def drain(self, deadline_s: float) -> int:
        """Take no more requests and let those finish that are under way; return how many could not in time."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: self._under_way == 0, deadline_s)
            return self._under_way


class Watched:
    """Tells the traffic of every request but those that stay open, and the log of what changed, failed or was slow."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_STREAMS):
            return await self._app(scope, receive, send)
        if not self._traffic.begin():
            closing = JSONResponse({"error": "The studio is being restarted. Try again in a minute."}, 503)
            closing.headers["retry-after"] = "15"
            return await closing(scope, receive, send)
        began, status = time.monotonic(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            seconds = time.monotonic() - began
            self._traffic.end(Kind(scope["method"], _area(scope["path"], status), status), seconds)
            _tell(scope, status, seconds)


def _area(path: str, status: int) -> str:
    first, _, rest = path.removeprefix("/").partition("/")
    if status in (401, 404) or first not in _AREAS:
        return "page" if path == "/" else "other"
    return f"{first}/{rest.partition('/')[0]}" if first in ("api", "gradio_api") else first


def _tell(scope: Scope, status: int, seconds: float) -> None:
    if status < 500 and seconds < _SLOW_S and scope["method"] in ("GET", "HEAD"):
        return
    # As it was sent: decoded it could hold a line's end, and make up lines of its own.
    path = (scope.get("raw_path") or b"").decode("latin-1")
    said = {"method": scope["method"], "path": path, "status": status, "seconds": round(seconds, 3)}
    _log.log(logging.INFO if status < 500 else logging.WARNING, "%(method)s %(path)s %(status)s", said, extra=said)
