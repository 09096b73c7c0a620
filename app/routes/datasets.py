"""Datasets: sending files, captions, and what may be done to a dataset as a whole."""

import asyncio
from pathlib import Path

from pydantic import Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from app.identifiers import dataset_id_in, file_name_in, resolutions_in
from app.routes.answer import answer, attachment, json_of
from app.routes.body import answer_file, answer_json
from app.session import owner_of
from app.views.datasets import CaptionView, DatasetViews, checkup_view, crops_view, intake_view, removal_view
from backend.contract import BaseModelSpec, Message, Sha256
from backend.datasets.intake import Upload, is_archive
from backend.errors import NotFound
from backend.studio import Studio

_READ_AT_ONCE = 8  # files; further ones wait on disk


class NameMessage(Message):
    name: str


class CaptionsMessage(Message):
    captions: dict[Sha256, str] = Field(max_length=10_000)


class PictureMessage(Message):
    picture: Sha256


class PicturesMessage(Message):
    pictures: list[Sha256] = Field(max_length=10_000)


def routes(studio: Studio) -> list[Route]:
    """Return the routes about datasets."""
    datasets = _Datasets(studio)
    one = "/api/datasets/{dataset_id}"
    files = answer_file(datasets.take_in, most_bytes=datasets.most_bytes, slots=asyncio.Semaphore(_READ_AT_ONCE))
    return [
        Route("/api/datasets", answer(datasets.list), methods=["GET"]),
        Route("/api/datasets", answer_json(NameMessage, datasets.create), methods=["POST"]),
        Route(one, answer(datasets.one)),
        Route(f"{one}/pictures/{{picture}}", answer(datasets.picture)),
        Route(f"{one}/files", files, methods=["POST"]),
        Route(f"{one}/captions", answer_json(CaptionsMessage, datasets.set_captions), methods=["POST"]),
        Route(f"{one}/describe", answer_json(PictureMessage, datasets.describe), methods=["POST"]),
        Route(f"{one}/rename", answer_json(NameMessage, datasets.rename), methods=["POST"]),
        Route(f"{one}/remove", answer_json(PicturesMessage, datasets.remove), methods=["POST"]),
        Route(f"{one}/duplicate", answer(datasets.duplicate), methods=["POST"]),
        Route(f"{one}/removal", answer(datasets.removal)),
        Route(f"{one}/delete", answer(datasets.delete), methods=["POST"]),
        Route(f"{one}/checkup", answer(datasets.checkup)),
        Route(f"{one}/crops", answer(datasets.crops)),
        Route(f"{one}/download", answer(datasets.download)),
    ]


class _Datasets:
    """One method a route; each makes one call to the studio."""

    def __init__(self, studio: Studio) -> None:
        self._datasets = studio.datasets
        self._captioner = studio.captioner
        self._limits = studio.limits
        self._caps = studio.usage.caps
        self._base_models = studio.base_models
        self._views = DatasetViews(studio.media, studio.base_models)

    def list(self, owner: str, request: Request) -> Response:
        return json_of(self._views.rows(self._datasets.of_owner(owner)))

    def create(self, owner: str, message: NameMessage, request: Request) -> Response:
        return json_of(self._views.dataset(self._datasets.create(owner, message.name)))

    def one(self, owner: str, request: Request) -> Response:
        return json_of(self._views.dataset(self._datasets.get(owner, _id(request))))

    def picture(self, owner: str, request: Request) -> Response:
        dataset = self._datasets.get(owner, _id(request))
        return RedirectResponse(self._views.picture(dataset, request.path_params["picture"]), 307)

    def most_bytes(self, request: Request) -> int:
        most = self._limits.total_bytes if is_archive(_name(request)) else self._limits.file_bytes
        may_store = self._caps.of_owner(owner_of(request)).storage_bytes
        return most if may_store is None else min(most, int(may_store))

    def take_in(self, owner: str, path: Path, request: Request) -> Response:
        return json_of(intake_view(self._datasets.add(owner, _id(request), Upload(_name(request), path))))

    def set_captions(self, owner: str, message: CaptionsMessage, request: Request) -> Response:
        self._datasets.set_captions(owner, _id(request), message.captions)
        return Response(status_code=204)

    def describe(self, owner: str, message: PictureMessage, request: Request) -> Response:
        return json_of(CaptionView(caption=self._captioner.caption(owner, _id(request), message.picture)))

    def rename(self, owner: str, message: NameMessage, request: Request) -> Response:
        self._datasets.rename(owner, _id(request), message.name)
        return Response(status_code=204)

    def remove(self, owner: str, message: PicturesMessage, request: Request) -> Response:
        self._datasets.remove(owner, _id(request), set(message.pictures))
        return Response(status_code=204)

    def duplicate(self, owner: str, request: Request) -> Response:
        return json_of(self._views.dataset(self._datasets.duplicate(owner, _id(request))))

    def removal(self, owner: str, request: Request) -> Response:
        return json_of(removal_view(self._datasets.removal(owner, _id(request))))

    def delete(self, owner: str, request: Request) -> Response:
        self._datasets.delete(owner, _id(request))
        return Response(status_code=204)

    def checkup(self, owner: str, request: Request) -> Response:
        dataset = self._datasets.get(owner, _id(request))
        return json_of(checkup_view(dataset, request.query_params.get("trigger_word", "")[:100], self._spec(request)))

    def crops(self, owner: str, request: Request) -> Response:
        return json_of(crops_view(self._datasets.get(owner, _id(request)), self._spec(request)))

    def _spec(self, request: Request) -> BaseModelSpec:
        """The base model asked for, as it is to be trained: at the resolutions asked for, if there are any."""
        base_model = request.query_params.get("base_model", "")
        if base_model not in self._base_models:
            raise NotFound("There is no such base model.", "Choose another one.")
        spec = self._base_models[base_model]
        asked = resolutions_in(request.query_params.get("resolution", ""))
        usual = spec.training.resolution
        return spec.model_copy(update={"training": spec.training.model_copy(update={"resolution": asked or usual})})

    def download(self, owner: str, request: Request) -> Response:
        name, chunks = self._datasets.download(owner, _id(request))
        headers = {
            "content-disposition": attachment(name),
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }
        return StreamingResponse(chunks, headers=headers, media_type="application/zip")


def _id(request: Request) -> str:
    return dataset_id_in(request.path_params["dataset_id"])


def _name(request: Request) -> str:
    return file_name_in(request.query_params.get("name", ""))
