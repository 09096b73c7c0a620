"""The requests the page's own scripts make: the state of runs, the gallery, and stored files. Authorised, and thin."""

from collections.abc import Callable
from pathlib import PurePosixPath
from urllib.parse import quote

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.identifiers import image_id_in, run_id_in, run_kind_in, step_in
from app.session import owner_of
from app.views import CurveView, Views
from app.wording import in_words
from backend.datasets import SAMPLE_DATASET
from backend.errors import AtelierError, Forbidden, InvalidRequest, NotFound, ServiceError
from backend.studio import Studio

_STATUS: dict[type[AtelierError], int] = {NotFound: 404, InvalidRequest: 400, Forbidden: 403, ServiceError: 503}
_CONTENT_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".txt": "text/plain; charset=utf-8",
}
_FEED = 30  # runs

Endpoint = Callable[[str, Request], Response]


def routes(studio: Studio) -> list[Route]:
    """Return the routes to serve beside the page."""
    answers = _Answers(studio)
    return [
        Route("/sample/{name}", _sample_picture),
        Route("/healthz", lambda request: JSONResponse({"ok": True})),
        Route("/api/runs", _answer(answers.runs)),
        Route("/api/runs/{run_id}", _answer(answers.run)),
        Route("/api/runs/{run_id}/curve", _answer(answers.curve)),
        Route("/api/runs/{run_id}/log", _answer(answers.log)),
        Route("/api/runs/{run_id}/cancel", _answer(answers.cancel), methods=["POST"]),
        Route("/api/runs/{run_id}/retry", _answer(answers.retry), methods=["POST"]),
        Route("/api/loras", _answer(answers.loras)),
        Route("/api/gallery", _answer(answers.gallery)),
        Route("/api/gallery/{image_id}", _answer(answers.picture)),
        Route("/api/gallery/{image_id}/delete", _answer(answers.delete_picture), methods=["POST"]),
        Route("/media/{bucket}/{key:path}", _answer(answers.media)),
    ]


class _Answers:
    """One method a route; each makes one call to the studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._views = Views(studio.media, studio.base_models)

    def runs(self, owner: str, request: Request) -> Response:
        if run_kind_in(request.query_params.get("kind", "train")) == "train":
            trainings = self._views.training_rows(self._studio.runs.list(owner, "train"))
            return _unless_known(request, trainings.version, trainings)
        generations = self._views.generations(self._studio.runs.list(owner, "image", limit=_FEED))
        return _unless_known(request, generations.version, generations)

    def run(self, owner: str, request: Request) -> Response:
        state = self._studio.runs.state(owner, run_id_in(request.path_params["run_id"]))
        view = self._views.training(state) if state.kind == "train" else self._views.generation(state)
        return _unless_known(request, view.version, view)

    def curve(self, owner: str, request: Request) -> Response:
        after = step_in(request.query_params.get("after", "-1"))
        metrics = self._studio.runs.metrics(owner, run_id_in(request.path_params["run_id"]), after_step=after)
        return _json(CurveView.model_validate(metrics.model_dump()))

    def log(self, owner: str, request: Request) -> Response:
        text = self._studio.runs.log(owner, run_id_in(request.path_params["run_id"]))
        return Response(text, media_type="text/plain", headers={"x-content-type-options": "nosniff"})

    def cancel(self, owner: str, request: Request) -> Response:
        self._studio.runs.cancel(owner, run_id_in(request.path_params["run_id"]))
        return Response(status_code=204)

    def retry(self, owner: str, request: Request) -> Response:
        self._studio.runs.retry(owner, run_id_in(request.path_params["run_id"]))
        return Response(status_code=204)

    def loras(self, owner: str, request: Request) -> Response:
        loras = self._views.loras(self._studio.loras.choices(owner))
        return _unless_known(request, loras.version, loras)

    def gallery(self, owner: str, request: Request) -> Response:
        after = request.query_params.get("after", "")
        page = self._studio.gallery.page(owner, image_id_in(after) if after else "")
        return _json(self._views.tiles(owner, page))

    def picture(self, owner: str, request: Request) -> Response:
        return _json(
            self._views.picture(self._studio.gallery.open(owner, image_id_in(request.path_params["image_id"])))
        )

    def delete_picture(self, owner: str, request: Request) -> Response:
        self._studio.gallery.delete(owner, [image_id_in(request.path_params["image_id"])])
        return Response(status_code=204)

    def media(self, owner: str, request: Request) -> Response:
        key = request.path_params["key"]
        start, end = _range_in(request.headers.get("range", ""))
        head, chunks = self._studio.media.open(owner, request.path_params["bucket"], key, start=start, end=end)
        headers = _media_headers(key, head.etag, request.query_params.get("download", ""))
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        if start is not None and start >= head.bytes:
            return Response(status_code=416, headers=headers | {"content-range": f"bytes */{head.bytes}"})
        last = head.bytes - 1 if end is None else min(end, head.bytes - 1)
        first = start or 0
        headers["content-length"] = str(last - first + 1)
        if start is not None:
            headers["content-range"] = f"bytes {first}-{last}/{head.bytes}"
        # HEAD is answered from what is known; the bytes are not asked for.
        body = iter(()) if request.method == "HEAD" else chunks
        content_type = _CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")
        return StreamingResponse(body, 200 if start is None else 206, headers, media_type=content_type)


def _sample_picture(request: Request) -> Response:
    """Return one of the pictures that come with the studio; they are nobody's."""
    path = SAMPLE_DATASET / request.path_params["name"]
    if path.parent != SAMPLE_DATASET or path.suffix != ".png" or not path.is_file():
        return JSONResponse({"error": "There is no such picture."}, status_code=404)
    return FileResponse(path, headers={"cache-control": "public, max-age=86400"})


def _answer(endpoint: Endpoint) -> Callable[[Request], Response]:
    """Give an endpoint whose things are meant, and put its errors into words. Runs in Starlette's threads."""

    def respond(request: Request) -> Response:
        try:
            return endpoint(owner_of(request), request)
        except Exception as error:
            status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
            return JSONResponse({"error": in_words(error)}, status_code=status)

    return respond


def _unless_known(request: Request, version: str, view: BaseModel) -> Response:
    """Return a view, or nothing when the caller has it already: a poll that finds no change costs a few bytes."""
    if request.query_params.get("since") == version:
        return Response(status_code=204)
    return _json(view)


def _json(view: BaseModel) -> Response:
    return Response(view.model_dump_json(), media_type="application/json", headers={"cache-control": "no-store"})


def _range_in(header: str) -> tuple[int | None, int | None]:
    """Return the first and last byte asked for; what isn't one plain range is answered with the whole."""
    first, dash, last = header.removeprefix("bytes=").partition("-")
    if not header.startswith("bytes=") or not dash or not first.isascii() or not first.isdigit():
        return None, None
    if not last:
        return int(first), None
    if not last.isascii() or not last.isdigit() or int(last) < int(first):
        return None, None
    return int(first), int(last)


def _media_headers(key: str, etag: str, download: str) -> dict[str, str]:
    shown = PurePosixPath(key).suffix in (".png", ".jpg", ".webp")
    headers = {
        "etag": f'"{etag}"',
        "accept-ranges": "bytes",
        # Pictures are never changed once they are there.
        "cache-control": "private, max-age=31536000, immutable" if shown else "private, no-cache",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "same-origin",
    }
    if download or not shown:
        name = download or PurePosixPath(key).name
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return headers
