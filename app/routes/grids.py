"""Grids: what can be compared and what it would take, grids with their cells, and their sheets as PNG."""

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from app.identifiers import grid_id_in, sheet_in
from app.routes.answer import answer, attachment, json_of, unless_known
from app.routes.body import answer_json
from app.views.grids import GridViews
from backend.contract import Message, RunId
from backend.grids.plan import GridWish
from backend.runs.makings import making_of
from backend.studio import Studio

_PIECE_BYTES = 2**18


class RetryMessage(Message):
    run_id: RunId | None = None  # one cell, or all that ended without a picture


def routes(studio: Studio) -> list[Route]:
    """Return the routes about grids."""
    grids = _Grids(studio)
    one = "/api/grids/{grid_id}"
    return [
        Route("/api/grids", answer(grids.list)),
        Route("/api/grids", answer_json(GridWish, grids.start), methods=["POST"]),
        Route("/api/grids/choices", answer(grids.choices)),
        Route("/api/grids/outlook", answer_json(GridWish, grids.outlook), methods=["POST"]),
        Route(one, answer(grids.one)),
        Route(f"{one}/sheet", answer(grids.sheet)),
        Route(f"{one}/cancel", answer(grids.cancel), methods=["POST"]),
        Route(f"{one}/retry", answer_json(RetryMessage, grids.retry), methods=["POST"]),
        Route(f"{one}/delete", answer(grids.delete), methods=["POST"]),
    ]


class _Grids:
    """One method a route."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._grids = studio.grids
        self._views = GridViews(studio.media, studio.base_models)

    def list(self, owner: str, request: Request) -> Response:
        return json_of(self._views.rows(self._grids.recent(owner)))

    def choices(self, owner: str, request: Request) -> Response:
        trainings = (making_of(state) for state in self._studio.runs.list(owner, "train"))
        makings = [making for making in trainings if making and making.checkpoints]
        loras = self._studio.loras.choices(owner)
        return json_of(self._views.choices(self._studio.default_base_model, loras, makings))

    def outlook(self, owner: str, wish: GridWish, request: Request) -> Response:
        return json_of(self._views.outlook(self._grids.outlook(owner, wish)))

    def start(self, owner: str, wish: GridWish, request: Request) -> Response:
        return json_of(self._views.grid(self._grids.open(owner, self._grids.start(owner, wish))))

    def one(self, owner: str, request: Request) -> Response:
        view = self._views.grid(self._grids.open(owner, _id(request)))
        return unless_known(request, view.version, view)

    def sheet(self, owner: str, request: Request) -> Response:
        name, picture = self._grids.sheet(owner, _id(request), sheet_in(request.query_params.get("number", "0")))
        headers = {
            "content-disposition": attachment(name),
            "content-length": str(len(picture)),
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; sandbox",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }
        return StreamingResponse(_pieces(picture), headers=headers, media_type="image/png")

    def cancel(self, owner: str, request: Request) -> Response:
        self._grids.cancel(owner, _id(request))
        return Response(status_code=204)

    def retry(self, owner: str, message: RetryMessage, request: Request) -> Response:
        self._grids.retry(owner, _id(request), message.run_id)
        return Response(status_code=204)

    def delete(self, owner: str, request: Request) -> Response:
        self._grids.delete(owner, _id(request))
        return Response(status_code=204)


def _id(request: Request) -> str:
    return grid_id_in(request.path_params["grid_id"])


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]
