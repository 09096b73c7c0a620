"""A request's body, as it comes: bounded in bytes, and in how long nothing may come."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from backend.errors import InvalidRequest

_SILENT_S = 60  # the most between two pieces


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
