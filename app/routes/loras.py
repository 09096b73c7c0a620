"""The LoRAs to choose from."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.routes.answer import answer, unless_known
from app.views.loras import LoraViews
from backend.studio import Studio


def routes(studio: Studio) -> list[Route]:
    """Return the routes about LoRAs."""
    return [Route("/api/loras", answer(_Loras(studio).list))]


class _Loras:
    """One method a route; each makes one call to the studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._views = LoraViews(studio.media, studio.base_models)

    def list(self, owner: str, request: Request) -> Response:
        loras = self._views.loras(self._studio.loras.choices(owner))
        return unless_known(request, loras.version, loras)
