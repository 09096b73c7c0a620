"""Serves the screen, behind its door, until somebody stops it."""

import threading
from collections.abc import Callable
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from app.door import Door
from app.interface import build, launch_options
from app.security import SecurityHeaders
from app.sign_in import HuggingFace, SignIn, sign_in_for
from backend.settings import Settings
from backend.studio import Studio


def serve_until_stopped(settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve the studio at host:port, call `on_ready` with its address, and return on Ctrl-C or SIGTERM."""
    studio = Studio.connect(settings)
    studio.spending_watch.start()
    sign_in = sign_in_for(settings)
    page = page_for(studio, sign_in)
    options = options_behind_door(studio, sign_in, settings)
    page.launch(server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, **options)
    try:
        on_ready(f"http://{host}:{port}")
        while True:
            # A plain Event.wait() would not let a signal through on every platform.
            threading.Event().wait(3600)
    except KeyboardInterrupt:
        pass
    finally:
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


def options_behind_door(studio: Studio, sign_in: SignIn, settings: Settings) -> dict[str, Any]:
    """Return what `Blocks.launch` is to be called with, so that nothing is reached but through the door."""
    options = launch_options(studio)
    app = options["app_kwargs"]
    stand_before = [
        Middleware(SecurityHeaders, storage_endpoint=settings.storage_endpoint),
        Middleware(Door, sign_in=sign_in),
    ]
    return options | {"app_kwargs": app | {"routes": [*sign_in.routes, *app["routes"]], "middleware": stand_before}}
