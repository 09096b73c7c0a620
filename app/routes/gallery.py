"""The gallery: its pages and what they can be filtered by, single pictures, many at once, and PNG files to read."""

import asyncio
import math
from pathlib import Path
from typing import Annotated, cast, get_args

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from app.identifiers import image_id_in
from app.routes.answer import answer, attachment, json_of
from app.routes.body import answer_file, answer_form, answer_json
from app.views.gallery import GalleryViews
from backend.contract import ImageId, Message
from backend.errors import InvalidRequest
from backend.gallery.gallery import MOST_AT_ONCE
from backend.gallery.index import Shape, Wanted
from backend.gallery.png_settings import MOST_BYTES, read_png
from backend.gallery.recognition import recognise
from backend.studio import Studio

_READ_AT_ONCE = 4  # files
_MOST_TEXT = 1024  # characters of a filter

ImageIds = Annotated[list[ImageId], Field(min_length=1, max_length=MOST_AT_ONCE)]


class PicturesMessage(Message):
    image_ids: ImageIds


class FavouritesMessage(Message):
    image_ids: ImageIds
    favourite: bool


def routes(studio: Studio) -> list[Route]:
    """Return the routes about pictures."""
    pictures = _Pictures(studio)
    one = "/api/gallery/{image_id}"
    read = answer_file(pictures.read, most_bytes=lambda request: MOST_BYTES, slots=asyncio.Semaphore(_READ_AT_ONCE))
    return [
        Route("/api/gallery", answer(pictures.page)),
        Route("/api/gallery/summary", answer(pictures.summary)),
        Route("/api/gallery/delete", answer_json(PicturesMessage, pictures.delete), methods=["POST"]),
        Route("/api/gallery/favourite", answer_json(FavouritesMessage, pictures.favourite), methods=["POST"]),
        Route("/api/gallery/download", answer_form(PicturesMessage, pictures.download), methods=["POST"]),
        Route("/api/gallery/read", read, methods=["POST"]),
        Route(one, answer(pictures.one)),
        Route(f"{one}/workflow", answer(pictures.workflow)),
    ]


class _Pictures:
    """One method a route; each makes one call to the studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._gallery = studio.gallery
        self._views = GalleryViews(studio.media, studio.base_models)

    def page(self, owner: str, request: Request) -> Response:
        after = request.query_params.get("after", "")
        return json_of(
            self._views.tiles(owner, self._gallery.page(owner, _wanted(request), image_id_in(after) if after else ""))
        )

    def summary(self, owner: str, request: Request) -> Response:
        return json_of(
            self._views.summary(self._gallery.summary(owner, _wanted(request)), self._studio.loras.of_owner(owner))
        )

    def one(self, owner: str, request: Request) -> Response:
        record = self._gallery.open(owner, _id(request))
        favourite = self._gallery.is_favourite(owner, record.id)
        return json_of(self._views.picture(record, favourite, self._gallery.origins(record)))

    def workflow(self, owner: str, request: Request) -> Response:
        name, graph = self._gallery.workflow(owner, _id(request))
        return Response(graph, media_type="application/json", headers=_file_headers(name))

    def delete(self, owner: str, message: PicturesMessage, request: Request) -> Response:
        self._gallery.delete(owner, message.image_ids)
        return Response(status_code=204)

    def favourite(self, owner: str, message: FavouritesMessage, request: Request) -> Response:
        self._gallery.set_favourite(owner, message.image_ids, message.favourite)
        return Response(status_code=204)

    def download(self, owner: str, message: PicturesMessage, request: Request) -> Response:
        pieces = self._gallery.archive(owner, message.image_ids)
        return StreamingResponse(pieces, headers=_file_headers("pictures.zip"), media_type="application/zip")

    def read(self, owner: str, path: Path, request: Request) -> Response:
        settings = read_png(path)
        loras = self._studio.loras.choices(owner) if settings.loras else []
        return json_of(self._views.found(recognise(settings, self._studio.base_models.values(), loras)))


def _id(request: Request) -> ImageId:
    return image_id_in(request.path_params["image_id"])


def _wanted(request: Request) -> Wanted:
    asked = {name: value[:_MOST_TEXT] for name, value in request.query_params.items()}
    shape = asked.get("shape", "")
    if shape and shape not in get_args(Shape):
        raise InvalidRequest(f"There is no shape '{shape[:40]}'.", "Choose portrait, landscape or square.")
    return Wanted(
        words=asked.get("q", ""),
        lora=asked.get("lora", ""),
        base_model=asked.get("base", ""),
        shape=cast(Shape, shape) if shape else None,
        favourites=asked.get("liked", "") == "1",
        since=_moment(asked.get("since", "")),
        until=_moment(asked.get("until", "")),
    )


def _moment(text: str) -> float:
    """Return a time in seconds since 1970; 0 if none is given."""
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 10**10:
        raise InvalidRequest("This date can't be read.", "Choose another one.")
    return seconds


def _file_headers(name: str) -> dict[str, str]:
    return {
        "content-disposition": attachment(name),
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
