"""What a request carries: a small JSON message, checked, or a file of any size, kept on disk while it is needed."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.routes.answer import in_response
from app.session import owner_of
from backend.contract import explain
from backend.errors import InvalidRequest

_MOST_JSON_BYTES = 8 * 2**20
_SILENT_S = 60  # the most between two pieces

B = TypeVar("B", bound=BaseModel)


def answer_json(kind: type[B], endpoint: Callable[[str, B, Request], Response]) -> Callable[[Request], object]:
    """Like `answer`, for an endpoint that is sent a message."""
    return _answer_message(kind, endpoint, lambda body: body)


def answer_form(kind: type[B], endpoint: Callable[[str, B, Request], Response]) -> Callable[[Request], object]:
    """Like `answer_json`, for a form whose field 'message' holds the JSON: a browser saves what it gets as it comes."""

    def message_in(body: bytes) -> bytes:
        fields = dict(parse_qsl(body.decode(errors="replace")))
        return fields.get("message", "").encode()

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
                with path.open("wb") as file:
                    async for piece in pieces(request, most_bytes(request)):
                        file.write(piece)
                async with slots:
                    return await run_in_threadpool(endpoint, owner, path, request)
        except Exception as error:
            return in_response(error)

    return respond


async def pieces(request: Request, most_bytes: int) -> AsyncIterator[bytes]:
    """Yield a request's body as it comes. Raises InvalidRequest as soon as there is too much, or nothing comes."""
    received = 0
    stream = request.stream()
    while True:
        try:
            # Not wait_for: in Python 3.11 it loses a cancel that comes together with what it waits for.
            async with asyncio.timeout(_SILENT_S):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise InvalidRequest(f"Nothing came for {_SILENT_S} s.", "Send it again.") from error
        except ClientDisconnect as error:
            raise InvalidRequest("The connection was closed before all of it had come.", "Send it again.") from error
        received += len(piece)
        if received > most_bytes:
            raise InvalidRequest(f"It is over {most_bytes // 2**20} MB.", "Send less at a time.")
        yield piece


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
