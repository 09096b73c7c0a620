"""Whether a storage is silent: there, and saying nothing. One call's wait finds it out; the others are told at once."""

import logging
import threading
import time
from typing import Any

import httpx
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

_ATTEMPTS = 2  # where others are answered
_ASKED_EVERY_S, _ASKED_FOR_S = 1.0, 5.0
_log = logging.getLogger(__name__)


class Silence:
    """Makes a client's calls fail at once while its storage is silent.

    A call that waits holds one of the app's forty threads. With many people at the page these are soon all held, and
    nobody is told anything within the half a minute for which a page waits.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        """Listen to what becomes of the calls of `client`. Nothing is contacted yet."""
        self._client = client
        self._bucket = bucket
        self._answered_at = time.monotonic()
        self._is_silent = False
        self._lock = threading.Lock()
        client.meta.events.register_first("before-call.s3", self._before_call)
        client.meta.events.register_first("needs-retry.s3", self._after_attempt)

    def _before_call(self, context: dict[str, Any], **_: Any) -> None:
        if self._is_silent:
            raise ReadTimeoutError(endpoint_url=self._client.meta.endpoint_url)
        context["called_at"] = time.monotonic()

    def _after_attempt(
        self, attempts: int, caught_exception: Exception | None, request_dict: dict[str, Any], **_: Any
    ) -> None:
        if caught_exception is None:
            self._answered_at = time.monotonic()
        elif isinstance(caught_exception, (ConnectTimeoutError, ReadTimeoutError)):
            # One call alone may be slow. Where nobody was answered since it was made, nobody is going to be.
            if self._answered_at < request_dict["context"]["called_at"]:
                self._begin()
            if self._is_silent or attempts >= _ATTEMPTS:
                raise caught_exception

    def _begin(self) -> None:
        with self._lock:
            if self._is_silent:
                return
            self._is_silent = True
        _log.warning("storage is silent")
        threading.Thread(target=self._last, name="silence", daemon=True).start()

    def _last(self) -> None:
        try:
            while self._says_nothing():
                time.sleep(_ASKED_EVERY_S)
        finally:
            self._answered_at = time.monotonic()
            self._is_silent = False
            _log.warning("storage is no longer silent")

    def _says_nothing(self) -> bool:
        """Return whether there is no answer, whatever it would say, and no refusal either."""
        question = self._client.generate_presigned_url("head_bucket", Params={"Bucket": self._bucket})
        try:
            httpx.head(question, timeout=_ASKED_FOR_S)
        except httpx.TimeoutException:
            return True
        except httpx.TransportError:
            return False  # a call fails as soon, and says why
        return False
