"""The `atelier` command: serve the studio, do its main job without a browser, deploy it, and say what is wrong."""

import contextlib
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from app import gradio_stubs
from app.local_machine import LocalMachine
from app.sign_in import LOOPBACK_NAMES, Loopback, sign_in_for
from backend.errors import AtelierError
from backend.operations.declaration import DECLARATION
from backend.settings import Settings

PORT = 7860
_PORTS_TRIED = 20

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help=f"Port; {PORT} or the next free one if not given.")] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page once it is ready.")] = True,
) -> None:
    """Start the studio. Without RunPod keys it runs everything on this computer."""
    settings = Settings()
    from app.first_run import is_first_run, serve_first_run

    if is_first_run(settings):
        serve_first_run(settings, host, port or _free_port(host))
        return
    if isinstance(sign_in_for(settings), Loopback) and host not in LOOPBACK_NAMES:
        raise AtelierError(
            f"The studio doesn't listen on {host} without a sign-in.", "Set ATELIER_PASSWORD, or use 127.0.0.1."
        )
    with _studio_machine(settings) as machine:
        # Gradio takes seconds to import; the local machine starts meanwhile.
        with gradio_stubs.none_written():
            from app.serving import serve_until_stopped

        chosen = port or _free_port(host)
        serve_until_stopped(machine.settings(), host, chosen, on_ready=lambda url: _announce(url, open_browser))


@cli.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the LoRA, the pictures and the contact sheet.")] = Path(
        "demo-output"
    ),
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 300,
) -> None:
    """Train on the sample pictures, then prompt with and without the LoRA, here and without a browser."""
    with _studio_machine(Settings()) as machine:
        from app.demo import run_demo

        run_demo(machine.settings, output, steps)


@cli.command()
def deploy(
    declaration: Annotated[Path, typer.Option(help="What is wanted on RunPod.")] = DECLARATION,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before changing anything.")] = False,
) -> None:
    """Make or update the volume, templates and endpoints on RunPod. Says first what it will do; safe to run twice."""
    from app.deploying import deploy as run_deploy

    run_deploy(Settings(), declaration, agreed=lambda: yes or typer.confirm("Do it?"))


@cli.command()
def doctor(
    address: Annotated[
        str, typer.Option(help="Where people open the studio, such as https://me-atelier.hf.space.")
    ] = "",
) -> None:
    """Check keys, buckets, endpoints, images and licences from here. Each line is ok or says what to do."""
    from app.doctor import all_is_well, origin_of

    if not all_is_well(Settings(), origin_of(address) if address else ""):
        raise typer.Exit(1)


@contextlib.contextmanager
def _studio_machine(settings: Settings) -> Iterator[LocalMachine]:
    """What the studio runs on, stopped again at the end; SIGTERM ends it as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    machine = LocalMachine(settings)
    machine.start()
    try:
        yield machine
    finally:
        machine.stop()


def _stop(number: int, frame: FrameType | None) -> None:
    """Stop in good order, once. Whoever presses Ctrl-C again can't wait; nothing is lost by that either."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, _stop_at_once)
    raise KeyboardInterrupt


def _stop_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(130)


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(PORT, PORT + _PORTS_TRIED):
        with contextlib.suppress(OSError), socket.create_server((host, port), family=family):
            return port
    raise AtelierError(f"Ports {PORT} to {PORT + _PORTS_TRIED - 1} are all taken.", "Give another one with --port.")


def _announce(url: str, open_browser: bool) -> None:
    print(f"\n  LoRA Atelier is ready: {url}\n  Ctrl-C stops it; nothing is lost.\n", flush=True)
    if open_browser and sys.stdout.isatty():
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(url)


def main() -> None:
    """Run the command; an error for people is printed as such."""
    try:
        cli()
    except AtelierError as error:
        sys.exit(f"atelier: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
