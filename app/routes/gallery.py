"""The gallery's pages, and single pictures."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.identifiers import image_id_in
from app.routes.answer import answer, json_of
from app.views.gallery import GalleryViews
from backend.studio import Studio


def routes(studio: Studio) -> list[Route]:
    """Return the routes about pictures."""
    pictures = _Pictures(studio)
    return [
        Route("/api/gallery", answer(pictures.page)),
        Route("/api/gallery/{image_id}", answer(pictures.one)),
        Route("/api/gallery/{image_id}/delete", answer(pictures.delete), methods=["POST"]),
    ]


class _Pictures:
    """One method a route; each makes one call to the studio."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._views = GalleryViews(studio.media, studio.base_models)

    def page(self, owner: str, request: Request) -> Response:
        after = request.query_params.get("after", "")
        page = self._studio.gallery.page(owner, image_id_in(after) if after else "")
        return json_of(self._views.tiles(owner, page))

    def one(self, owner: str, request: Request) -> Response:
        return json_of(
            self._views.picture(self._studio.gallery.open(owner, image_id_in(request.path_params["image_id"])))
        )

    def delete(self, owner: str, request: Request) -> Response:
        self._studio.gallery.delete(owner, [image_id_in(request.path_params["image_id"])])
        return Response(status_code=204)
