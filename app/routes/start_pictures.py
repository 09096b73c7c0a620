"""Pictures from outside that others are to be started from."""

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.identifiers import file_name_in
from app.routes.answer import json_of
from app.routes.body import answer_file
from app.views.start_pictures import start_picture_view
from backend.generation.start_pictures import MOST_BYTES
from backend.studio import Studio

_READ_AT_ONCE = 4  # files


def routes(studio: Studio) -> list[Route]:
    """Return the route that takes such a picture in."""

    def take_in(owner: str, path: Path, request: Request) -> Response:
        name = file_name_in(request.query_params.get("name", ""))
        return json_of(start_picture_view(studio.media, studio.start_pictures.take_in(owner, path, name)))

    slots = asyncio.Semaphore(_READ_AT_ONCE)
    return [
        Route(
            "/api/start-pictures",
            answer_file(take_in, most_bytes=lambda request: MOST_BYTES, slots=slots),
            methods=["POST"],
        )
    ]
