"""The gateway's HTTP bodies: JSON in with a size limit, JSON out that any reader accepts."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


class BadBody(Exception):
    """A body the gateway refuses, with the HTTP status to say so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def read_json(request: Request, limit_bytes: int) -> Any:
    """Read a JSON body. NaN and infinities, which Python writes and nobody else reads, arrive as None.

    Raises BadBody for one that is too large or is not JSON.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            raise BadBody(413, f"The body is larger than {limit_bytes // 2**20} MB. Send keys or URLs, not bytes.")
    try:
        return json.loads(body, parse_constant=lambda constant: None)
    except (ValueError, RecursionError) as error:
        raise BadBody(400, f"The body is not JSON: {error}") from error


def to_json(value: Any) -> str:
    """Return ASCII JSON: a lone surrogate in a prompt is escaped instead of breaking the encoding to UTF-8."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def reply(payload: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON."""
    return Response(to_json(payload), status, headers, media_type="application/json")


def refuse(status: int, message: str) -> Response:
    """Answer with an error, in RunPod's shape."""
    return reply({"error": message}, status)
