"""The LoRAs: to choose from, to look after, to bring in from elsewhere and to publish."""

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.identifiers import file_name_in, image_id_in, lora_id_in, run_id_in
from app.routes.answer import answer, json_of, unless_known
from app.routes.body import answer_file, answer_json
from app.session import hub_access_of
from app.views.loras import Imported, LoraViews, RemovalView, preview_view, publication_view
from backend.contract import Message
from backend.loras.publishing import Wish
from backend.studio import Studio

_IMPORTED_AT_ONCE = 2  # files


class LabelMessage(Message):
    name: str
    note: str
    tags: list[str]


class ThumbMessage(Message):
    """A picture made with it, or else a sample of its run."""

    image_id: str = ""
    sample_key: str = ""


class CheckpointMessage(Message):
    run_id: str
    step: int


def routes(studio: Studio) -> list[Route]:
    """Return the routes about LoRAs."""
    loras = _Loras(studio)
    one = "/api/loras/{lora_id}"
    files = answer_file(loras.take_in, most_bytes=loras.most_bytes, slots=asyncio.Semaphore(_IMPORTED_AT_ONCE))
    return [
        Route("/api/loras", answer(loras.list)),
        Route("/api/loras/library", answer(loras.library)),
        Route("/api/loras/files", files, methods=["POST"]),
        Route("/api/loras/promote", answer_json(CheckpointMessage, loras.promote), methods=["POST"]),
        Route("/api/loras/runs/{run_id}", answer(loras.comparison)),
        Route(one, answer(loras.one)),
        Route(f"{one}/pictures", answer(loras.pictures)),
        Route(f"{one}/label", answer_json(LabelMessage, loras.describe), methods=["POST"]),
        Route(f"{one}/thumb", answer_json(ThumbMessage, loras.show), methods=["POST"]),
        Route(f"{one}/removal", answer(loras.removal)),
        Route(f"{one}/delete", answer(loras.delete), methods=["POST"]),
        Route(f"{one}/preview", answer_json(Wish, loras.preview), methods=["POST"]),
        Route(f"{one}/publish", answer_json(Wish, loras.publish), methods=["POST"]),
        Route(f"{one}/publish", answer(loras.publication), methods=["GET"]),
    ]


class _Loras:
    """One method a route; each makes one call to the studio."""

    def __init__(self, studio: Studio) -> None:
        self._loras = studio.loras
        self._publishing = studio.publishing
        self._views = LoraViews(studio.media, studio.base_models)

    def list(self, owner: str, request: Request) -> Response:
        loras = self._views.loras(self._loras.choices(owner, request.query_params.getlist("named")))
        return unless_known(request, loras.version, loras)

    def library(self, owner: str, request: Request) -> Response:
        loras = self._loras.of_owner(owner)
        missing = hub_access_of(request).missing
        library = self._views.library(loras, self._loras.without_lora(owner, loras), self._loras.max_bytes, missing)
        return unless_known(request, library.version, library)

    def most_bytes(self, request: Request) -> int:
        return self._loras.max_bytes

    def take_in(self, owner: str, path: Path, request: Request) -> Response:
        lora, new = self._loras.take_in(owner, path, file_name_in(request.query_params.get("name", "")))
        return json_of(Imported(lora=self._views.item(lora), new=new))

    def promote(self, owner: str, message: CheckpointMessage, request: Request) -> Response:
        return json_of(self._views.item(self._loras.promote(owner, run_id_in(message.run_id), message.step)))

    def comparison(self, owner: str, request: Request) -> Response:
        return json_of(self._views.comparison(self._loras.making(owner, run_id_in(request.path_params["run_id"]))))

    def one(self, owner: str, request: Request) -> Response:
        return json_of(self._views.item(self._loras.get(owner, _id(request))))

    def pictures(self, owner: str, request: Request) -> Response:
        return json_of(self._views.made_pictures(self._loras.pictures(owner, self._loras.get(owner, _id(request)))))

    def describe(self, owner: str, message: LabelMessage, request: Request) -> Response:
        lora = self._loras.describe(owner, _id(request), name=message.name, note=message.note, tags=message.tags)
        return json_of(self._views.item(lora))

    def show(self, owner: str, message: ThumbMessage, request: Request) -> Response:
        if message.image_id:
            lora = self._loras.show_picture(owner, _id(request), image_id_in(message.image_id))
        else:
            lora = self._loras.show_sample(owner, _id(request), message.sample_key)
        return json_of(self._views.item(lora))

    def removal(self, owner: str, request: Request) -> Response:
        removal = self._loras.removal(owner, _id(request))
        return json_of(RemovalView(bytes=removal.bytes, checkpoints=removal.checkpoints))

    def delete(self, owner: str, request: Request) -> Response:
        self._loras.delete(owner, _id(request))
        return Response(status_code=204)

    def preview(self, owner: str, message: Wish, request: Request) -> Response:
        return json_of(preview_view(self._publishing.preview(owner, _id(request), message, hub_access_of(request))))

    def publish(self, owner: str, message: Wish, request: Request) -> Response:
        self._publishing.start(owner, _id(request), message, hub_access_of(request))
        return Response(status_code=204)

    def publication(self, owner: str, request: Request) -> Response:
        self._loras.get(owner, _id(request))
        return json_of(publication_view(self._publishing.state(owner, _id(request))))


def _id(request: Request) -> str:
    return lora_id_in(request.path_params["lora_id"])
