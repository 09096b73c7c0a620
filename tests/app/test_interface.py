"""Gradio wants an event loop to be running when a page is built, else it makes one that it never closes."""

import re

import gradio as gr
import pytest
from httpx import ASGITransport, AsyncClient

from app.interface import build, launch_options
from app.theme import SCRIPTS
from app.widgets import stylesheets
from backend.studio import Studio


async def test_the_page_is_built_and_speaks_to_nobody_else(quiet_studio: Studio) -> None:
    page = build(quiet_studio)
    options = launch_options(quiet_studio)

    assert isinstance(page, gr.Blocks)
    assert not re.search(r"https?://(?!www\.w3\.org)", options["head"])
    assert options["ssr_mode"] is False
    assert options["show_error"] is False


async def test_on_a_space_it_speaks_to_nobody_else_either(
    quiet_studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "ann/studio")
    # By this Gradio's script knows that it may ask the Hub for the Space's likes, and Google for their letters.
    assert build(quiet_studio).get_config_file()["space_id"] is None


async def test_only_the_named_endpoints_are_public(quiet_studio: Studio) -> None:
    page = build(quiet_studio)

    offered = page.get_api_info()["named_endpoints"]
    assert set(offered) == {"/sample_dataset", "/train", "/run_state", "/cancel", "/generate", "/list"}


def test_nothing_a_person_wrote_is_put_together_as_html() -> None:
    scripts = [*SCRIPTS, *(script for sheet in stylesheets() for script in sheet.parent.glob("*.js"))]

    for script in scripts:
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", script.read_text()), script


def test_importing_the_widgets_writes_no_files() -> None:
    assert not list(SCRIPTS[0].parents[2].glob("app/**/*.pyi"))


async def test_the_page_answers(quiet_studio: Studio) -> None:
    page = build(quiet_studio)
    app = gr.routes.App.create_app(page, app_kwargs=launch_options(quiet_studio)["app_kwargs"])

    async with AsyncClient(transport=ASGITransport(app), base_url="http://studio") as client:
        assert (await client.get("/healthz")).json() == {"ok": True}
        assert (await client.get("/docs")).status_code == 404
