"""Serves the screen until somebody stops it."""

import threading
from collections.abc import Callable

from app.interface import build, launch_options
from backend.settings import Settings
from backend.studio import Studio


def serve_until_stopped(settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve the studio at host:port, call `on_ready` with its address, and return on Ctrl-C or SIGTERM."""
    studio = Studio.connect(settings)
    page = build(studio)
    page.launch(server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, **launch_options(studio))
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
