"""The requests the page's own scripts make: each area in a file of its own. Authorised, and thin."""

from collections.abc import Awaitable, Callable

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.routes import datasets, gallery, generations, grids, loras, media, prompt_book, runs, start_pictures, usage
from backend.studio import Studio

_AREAS = (datasets, runs, generations, prompt_book, start_pictures, grids, loras, gallery, media, usage)


def routes(studio: Studio) -> list[Route]:
    """Return the routes to serve beside the page."""
    return [
        Route("/healthz", _health),
        Route("/readyz", _readiness(studio)),
        *(route for area in _AREAS for route in area.routes(studio)),
    ]


async def _health(request: Request) -> JSONResponse:
    # In the event loop: it must not wait for a thread while all of them wait for a storage that is away.
    return JSONResponse({"ok": True})


def _readiness(studio: Studio) -> Callable[[Request], Awaitable[JSONResponse]]:
    threads = CapacityLimiter(2)  # of its own, for the same reason

    async def ready(request: Request) -> JSONResponse:
        report = await to_thread.run_sync(studio.readiness.look, limiter=threads)
        return JSONResponse({"ready": report.ready, **report.parts}, 200 if report.ready else 503)

    return ready
