"""How much may be sent to Gradio's own addresses, which would write whatever comes to disk and keep it for a day."""

import time
from collections import defaultdict
from typing import NamedTuple

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_UPLOAD = "/gradio_api/upload"
_MOST_MESSAGE_BYTES = 16 * 2**20  # of a form's values, or a server function's
_FILES_A_DAY, _FILES_A_DAY_IN_ALL = 500, 20_000  # requests of one person, and of everybody
_BYTES_A_DAY = 2**30
_BYTES_A_DAY_IN_ALL = 10 * 2**30


class _Sent(NamedTuple):
    files: int = 0
    bytes: int = 0

    def and_more(self, count: int) -> "_Sent":
        return _Sent(self.files + 1, self.bytes + count)


class UploadQuota:
    """Stands behind the door, which says whose a request is."""

    def __init__(self, app: ASGIApp, most_file_bytes: int) -> None:
        self._app = app
        self._most_file_bytes = most_file_bytes
        self._day = 0
        self._sent: dict[str, _Sent] = defaultdict(_Sent)
        self._in_all = _Sent()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith("/gradio_api/"):
            length = dict(scope["headers"]).get(b"content-length", b"")
            problem, status = self._refusal(scope, length.decode("latin-1"))
            if problem:
                return await JSONResponse({"error": problem}, status)(scope, receive, send)
        return await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, length: str) -> tuple[str, int]:
        """Return why a request is not taken, and the status that says so; '' when it is."""
        if not length.isascii() or not length.isdigit():
            return "This request doesn't say how long it is.", 411
        is_upload = scope["path"].rstrip("/") == _UPLOAD
        most = self._most_file_bytes if is_upload else _MOST_MESSAGE_BYTES
        if int(length) > most:
            return f"It is over {most // 2**20} MB. Send less at a time.", 413
        if is_upload and not self._has_room(scope.get("state", {}).get("owner", ""), int(length)):
            return "You have sent as much as can be taken today. It frees up at 00:00 UTC.", 429
        return "", 200

    def _has_room(self, owner: str, count: int) -> bool:
        today = int(time.time() // 86_400)
        if today != self._day:
            self._day, self._sent, self._in_all = today, defaultdict(_Sent), _Sent()
        own, in_all = self._sent[owner].and_more(count), self._in_all.and_more(count)
        if own.files > _FILES_A_DAY or own.bytes > _BYTES_A_DAY:
            return False
        if in_all.files > _FILES_A_DAY_IN_ALL or in_all.bytes > _BYTES_A_DAY_IN_ALL:
            return False
        self._sent[owner], self._in_all = own, in_all
        return True
