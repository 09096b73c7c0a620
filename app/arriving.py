"""A request's body, as it comes: bounded in bytes, in how long nothing may come, and in the fields of a form."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from backend.errors import InvalidRequest

_SILENT_S = 60  # the most between two pieces
_MOST_FIELDS = 10


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


def fields_in(form: bytes) -> dict[str, str]:
    """Return what a form says, field by field. Raises InvalidRequest for more fields than any of ours has."""
    try:
        return dict(parse_qsl(form.decode(errors="replace"), max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise InvalidRequest("This form has too many fields.", "Reload the page.") from error
