"""The page of a studio that isn't set up yet: what is missing, where to get it and where to put it. Says no secret."""

import logging
from html import escape
from string import Template

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from app.pages import wide_page
from app.security import SecurityHeaders
from app.sign_in import sign_in_for
from backend.base_models import ASSETS
from backend.errors import AtelierError
from backend.operations.first_run import Requirement, can_run_locally, is_begun, missing
from backend.settings import Settings

_TEMPLATE = ASSETS / "theme" / "page_first_run.html"
_STEPS = "assets/readme/from-zero.md"
_GUIDE = '<p><a href="{link}" target="_blank" rel="noopener">Step by step, in fifteen minutes</a></p>'
_log = logging.getLogger(__name__)


def is_first_run(settings: Settings) -> bool:
    """Return whether the studio can't run as it is set up: not in the cloud, and not whole on this machine either."""
    if can_run_locally():
        return bool(settings.space_id and is_begun(settings) and missing(settings))
    return bool(missing(settings))


def serve_first_run(settings: Settings, host: str, port: int) -> None:
    """Serve the page until somebody stops it; a Space starts anew by itself once its variables change."""
    names = [name for requirement in missing(settings) for name in requirement.variables]
    _log.warning("not set up yet: %s missing", ", ".join(names))
    uvicorn.run(first_run_app(settings), host=host, port=port, log_level="warning")


def first_run_app(settings: Settings) -> Starlette:
    """Return the app that is served in the studio's place."""

    async def page(request: Request) -> Response:
        return _page(settings)

    async def ready(request: Request) -> Response:
        return JSONResponse({"ready": False, "missing": len(missing(settings))}, 503)

    async def healthy(request: Request) -> Response:
        return JSONResponse({"ok": True})

    routes = [Route("/healthz", healthy), Route("/readyz", ready), Route("/{path:path}", page)]
    headers = Middleware(SecurityHeaders, storage_endpoint=settings.storage_endpoint)
    return Starlette(routes=routes, middleware=[headers])


def _page(settings: Settings) -> HTMLResponse:
    # 200, though nothing works yet: a host may take anything else for a failed start.
    lacking = missing(settings)
    try:
        sign_in_for(settings)
    except AtelierError as error:
        link = "https://huggingface.co/docs/hub/spaces-oauth"
        lacking = [*lacking, Requirement("Sign-in", (), str(error), link)]
    space = settings.space_id
    link = f"https://huggingface.co/spaces/{space}/settings" if space else ""
    where = f'<a href="{escape(link)}" target="_blank" rel="noopener">this Space’s settings</a>' if space else (
        "the environment of the container"
    )  # fmt: skip
    shown = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        items="\n".join(map(_item, lacking)),
        where=where,
        restarts="It starts anew by itself." if space else "",
        guide=_GUIDE.format(link=f"https://huggingface.co/spaces/{escape(space)}/blob/main/{_STEPS}") if space else "",
    )
    return wide_page("Almost there", shown, 200)


def _item(requirement: Requirement) -> str:
    names = " ".join(f"<code>{escape(name)}</code>" for name in requirement.variables)
    host = requirement.link.split("/")[2]
    return (
        f"<li><strong>{escape(requirement.title)}</strong><span>{escape(requirement.how)}</span>"
        f'<a href="{escape(requirement.link)}" target="_blank" rel="noopener">{escape(host)}</a><p>{names}</p></li>'
    )
