"""The feed of pictures, and stopping what is in the making."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.routes.answer import answer, unless_known
from app.views.generations import GenerationViews
from backend.studio import Studio


def routes(studio: Studio) -> list[Route]:
    """Return the routes about generations."""
    generations = _Generations(studio)
    return [
        Route("/api/generations", answer(generations.feed)),
        Route("/api/generations/cancel", answer(generations.cancel_all), methods=["POST"]),
    ]


class _Generations:
    """One method a route; each makes one call to the studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._views = GenerationViews(studio.media, studio.base_models)

    def feed(self, owner: str, request: Request) -> Response:
        newest = self._studio.generation.recent(owner)
        feed = self._views.feed(newest, going_before=len(self._studio.generation.going_behind(newest)))
        return unless_known(request, feed.version, feed)

    def cancel_all(self, owner: str, request: Request) -> Response:
        self._studio.generation.cancel_all(owner)
        return Response(status_code=204)
