"""The requests the page's own scripts make: each area in a file of its own. Authorised, and thin."""

from starlette.responses import JSONResponse
from starlette.routing import Route

from app.routes import datasets, gallery, generations, grids, loras, media, runs
from backend.studio import Studio


def routes(studio: Studio) -> list[Route]:
    """Return the routes to serve beside the page."""
    return [
        Route("/healthz", lambda request: JSONResponse({"ok": True})),
        *(
            route
            for area in (datasets, runs, generations, grids, loras, gallery, media)
            for route in area.routes(studio)
        ),
    ]
