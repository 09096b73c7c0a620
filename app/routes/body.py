"""What a request carries: a small JSON message, checked, or a file of any size, kept on disk while it is needed."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app.arriving import fields_in, pieces
from app.routes.answer import in_response
from app.session import owner_of
from backend.contract import explain
from backend.errors import InvalidRequest, LimitReached

_MOST_JSON_BYTES = 8 * 2**20
_SPARE_BYTES = 2**30  # of the disk, which the studio itself and its index need
_LOOKS_EVERY_BYTES = 2**24

B = TypeVar("B", bound=BaseModel)


def answer_json(kind: type[B], endpoint: Callable[[str, B, Request], Response]) -> Callable[[Request], object]:
    """Like `answer`, for an endpoint that is sent a message."""
    return _answer_message(kind, endpoint, lambda body: body)


def answer_form(kind: type[B], endpoint: Callable[[str, B, Request], Response]) -> Callable[[Request], object]:
    """Like `answer_json`, for a form whose field 'message' holds the JSON: a browser saves what it gets as it comes."""

    def message_in(body: bytes) -> bytes:
        return fields_in(body).get("message", "").encode()

    return _answer_message(kind, endpoint, message_in)


def answer_file(
    endpoint: Callable[[str, Path, Request], Response],
    *,
    most_bytes: Callable[[Request], int],
    slots: asyncio.Semaphore,
) -> Callable[[Request], object]:
    """Like `answer`, for an endpoint that is sent a file. `slots` bounds how many are worked on at a time."""

    async def respond(request: Request) -> Response:
        try:
            owner = owner_of(request)
            with tempfile.TemporaryDirectory(prefix="atelier-upload-") as folder:
                path = Path(folder) / "file"
                await _keep(request, path, most_bytes(request))
                async with slots:
                    return await run_in_threadpool(endpoint, owner, path, request)
        except Exception as error:
            return in_response(error)

    return respond


async def _keep(request: Request, path: Path, most_bytes: int) -> None:
    """Write what comes to a file. Raises LimitReached when that would fill the disk, on which everybody's arrives."""
    looks_at = 0
    with path.open("wb") as file:
        async for piece in pieces(request, most_bytes):
            if file.tell() >= looks_at:
                if shutil.disk_usage(path.parent).free < _SPARE_BYTES:
                    raise LimitReached("Too many files are on their way to the studio.", "Send it again in a minute.")
                looks_at = file.tell() + _LOOKS_EVERY_BYTES
            file.write(piece)


def _answer_message(
    kind: type[B], endpoint: Callable[[str, B, Request], Response], message_in: Callable[[bytes], bytes]
) -> Callable[[Request], object]:
    async def respond(request: Request) -> Response:
        try:
            owner = owner_of(request)
            data = b"".join([piece async for piece in pieces(request, _MOST_JSON_BYTES)])
            try:
                message = kind.model_validate_json(message_in(data))
            except ValidationError as error:
                raise InvalidRequest(explain(error), "Reload the page.") from error
            return await run_in_threadpool(endpoint, owner, message, request)
        except Exception as error:
            return in_response(error)

    return respond
