"""Serves the screen, behind its door, until somebody stops it."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.door import Door
from app.interface import build, launch_options
from app.logs import set_up_logging
from app.metrics import metrics_route
from app.security import SecurityHeaders
from app.sign_in import HuggingFace, SignIn, sign_in_for
from app.traffic import Traffic, Watched
from app.upload_quota import UploadQuota
from backend.settings import Settings
from backend.studio import Studio

# LoRAs are octet-streams, and would hardly get smaller.
_NOT_COMPRESSED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/octet-stream")
_DRAIN_S = 8.0  # hosts kill what hasn't ended ten seconds after it was asked to
_log = logging.getLogger(__name__)


def serve_until_stopped(settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve the studio at host:port, call `on_ready` with its address, and return on Ctrl-C or SIGTERM."""
    set_up_logging(settings)
    studio = Studio.connect(settings)
    studio.spending_watch.start()
    sign_in = sign_in_for(settings)
    page, traffic = page_for(studio, sign_in), Traffic()
    options = options_behind_door(studio, sign_in, settings, traffic)
    page.launch(server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, **options)
    try:
        on_ready(f"http://{host}:{port}")
        while True:
            # A plain Event.wait() would not let a signal through on every platform.
            threading.Event().wait(3600)
    except KeyboardInterrupt:
        pass
    finally:
        if left := traffic.drain(_DRAIN_S):
            _log.warning("%d requests were still under way after %g s", left, _DRAIN_S)
        page.close(verbose=False)
        studio.close()


def page_for(studio: Studio, sign_in: SignIn) -> gr.Blocks:
    """Return the page, with Gradio's way of signing in at Hugging Face where that is how people are known."""
    page = build(studio)
    if isinstance(sign_in, HuggingFace):
        with page:
            # Gradio adds its routes only to a page that has this button; the one people see is in the top bar.
            gr.LoginButton(visible=False)
    return page


def options_behind_door(studio: Studio, sign_in: SignIn, settings: Settings, traffic: Traffic) -> dict[str, Any]:
    """Return what `Blocks.launch` is to be called with, so that nothing is reached but through the door."""
    options = launch_options(studio)
    app = options["app_kwargs"]
    stand_before = [
        Middleware(Watched, traffic=traffic),
        Middleware(SecurityHeaders, storage_endpoint=settings.storage_endpoint),
        Middleware(Door, sign_in=sign_in),
        Middleware(UploadQuota, most_file_bytes=studio.limits.file_bytes),
        # The page is 550 KB of text: 115 KB so, for 10 ms.
        Middleware(GZipMiddleware, compresslevel=5, exclude_content_types=_NOT_COMPRESSED),
    ]
    routes = [*sign_in.routes, metrics_route(studio, settings, traffic), *app["routes"]]
    refusals = {RequestValidationError: _refuse_unreadable}
    return options | {
        "app_kwargs": app | {"routes": routes, "middleware": stand_before, "exception_handlers": refusals}
    }


async def _refuse_unreadable(request: Request, error: Exception) -> Response:
    """Answer in place of FastAPI, who sends back what came, and breaks where that can't be sent."""
    return JSONResponse({"error": "This request can't be read. Reload the page."}, 422)
