"""What the studio logs: lines for people, or JSON for a collector, with the run they are about and without secrets."""

import json
import logging
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import Any

from backend.settings import Settings

_RUN = re.compile(r"\b(?:train|image)-[0-9]{13}-[0-9a-f]{8}\b")
_FIELDS = ("method", "path", "status", "seconds")  # of a request; see app.traffic
_HIDDEN = "[secret]"
_NO_RELOAD = "is required to run hot-reloading in Spaces"
_log = logging.getLogger(__name__)


def set_up_logging(settings: Settings) -> None:
    """Send everything that is logged to standard error: as JSON on a Space or when asked for, else as text."""
    as_json = settings.atelier_log == "json" or (not settings.atelier_log and bool(settings.space_id))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(settings) if as_json else Lines(settings))
    logging.basicConfig(level=logging.INFO if as_json else logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of each request, with its address
    threading.excepthook = _log_end_of_thread


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    """Log what ended a thread: Python would print it as it is, secrets included."""
    # On a Space Gradio starts a thread that loads changed code anew, which is only to be had with a package of theirs.
    if ended.exc_value and _NO_RELOAD not in str(ended.exc_value):
        name = ended.thread.name if ended.thread else "a thread"
        _log.error("%s ended", name, exc_info=ended.exc_value)


class Lines(logging.Formatter):
    """Lines for people, without secrets."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("%(asctime)s %(name)s %(levelname)s %(message)s")
        self._secrets = settings.secrets

    def format(self, record: logging.LogRecord) -> str:
        return without(self._secrets, super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, where, what; the run and the request it is about, when there is one."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._secrets = settings.secrets

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if found := _RUN.search(message):
            line["run_id"] = found.group()
        if record.exc_info and record.exc_info[1]:
            line["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        hidden = {name: without(self._secrets, each) if isinstance(each, str) else each for name, each in line.items()}
        return json.dumps(hidden, ensure_ascii=False)


def without(secrets: frozenset[str], text: str) -> str:
    """Return a text with something else in the place of each secret."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return text
