"""The state of runs, for the page's polling, and what may be done to one."""

import hashlib

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.identifiers import run_id_in, step_in
from app.routes.answer import answer, json_of, unless_known
from app.routes.body import answer_json
from app.views.generations import GenerationViews
from app.views.trainings import CurveView, TrainingViews
from backend.contract import Message, Wish
from backend.studio import Studio


class ExtendMessage(Message):
    steps: int = Field(ge=1, le=20_000)


class WishMessage(Message):
    wish: Wish


def routes(studio: Studio) -> list[Route]:
    """Return the routes about runs."""
    runs = _Runs(studio)
    return [
        Route("/api/runs", answer(runs.list)),
        Route("/api/runs/{run_id}", answer(runs.one)),
        Route("/api/runs/{run_id}/curve", answer(runs.curve)),
        Route("/api/runs/{run_id}/log", answer(runs.log)),
        Route("/api/runs/{run_id}/config", answer(runs.config)),
        Route("/api/runs/{run_id}/ask", answer_json(WishMessage, runs.ask), methods=["POST"]),
        Route("/api/runs/{run_id}/cancel", answer(runs.cancel), methods=["POST"]),
        Route("/api/runs/{run_id}/retry", answer(runs.retry), methods=["POST"]),
        Route("/api/runs/{run_id}/extend", answer_json(ExtendMessage, runs.extend), methods=["POST"]),
        Route("/api/runs/{run_id}/delete", answer(runs.delete), methods=["POST"]),
    ]


class _Runs:
    """One method a route; each makes one call to the studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._trainings = TrainingViews(studio.media, studio.base_models, studio.estimates.gpu_price)
        self._feed = GenerationViews(studio.media, studio.base_models)

    def list(self, owner: str, request: Request) -> Response:
        trainings = self._trainings.training_rows(self._studio.runs.list(owner, "train"))
        return unless_known(request, trainings.version, trainings)

    def one(self, owner: str, request: Request) -> Response:
        state = self._studio.runs.state(owner, run_id_in(request.path_params["run_id"]))
        view = self._trainings.training(state) if state.kind == "train" else self._feed.generation(state)
        return unless_known(request, view.version, view)

    def curve(self, owner: str, request: Request) -> Response:
        after = step_in(request.query_params.get("after", "-1"))
        metrics = self._studio.runs.metrics(owner, run_id_in(request.path_params["run_id"]), after_step=after)
        return json_of(CurveView.model_validate(metrics.model_dump()))

    def log(self, owner: str, request: Request) -> Response:
        return _plain(request, self._studio.runs.log(owner, run_id_in(request.path_params["run_id"])))

    def config(self, owner: str, request: Request) -> Response:
        return _plain(request, self._studio.training.toolkit_config(owner, run_id_in(request.path_params["run_id"])))

    def ask(self, owner: str, message: WishMessage, request: Request) -> Response:
        self._studio.runs.ask(owner, run_id_in(request.path_params["run_id"]), message.wish)
        return Response(status_code=204)

    def cancel(self, owner: str, request: Request) -> Response:
        self._studio.runs.cancel(owner, run_id_in(request.path_params["run_id"]))
        return Response(status_code=204)

    def retry(self, owner: str, request: Request) -> Response:
        self._studio.runs.retry(owner, run_id_in(request.path_params["run_id"]))
        return Response(status_code=204)

    def extend(self, owner: str, message: ExtendMessage, request: Request) -> Response:
        self._studio.runs.extend(owner, run_id_in(request.path_params["run_id"]), message.steps)
        return Response(status_code=204)

    def delete(self, owner: str, request: Request) -> Response:
        self._studio.runs.delete(owner, run_id_in(request.path_params["run_id"]))
        return Response(status_code=204)


def _plain(request: Request, text: str) -> Response:
    """Return a text; nothing, where the browser kept the same one. An open log is asked for every other second."""
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'
    headers = {"x-content-type-options": "nosniff", "cache-control": "private, no-cache", "etag": etag}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(text, media_type="text/plain", headers=headers)
