"""What a browser may be made to run, and what strangers may make the studio fetch or keep."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import gradio as gr
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.serving import options_behind_door, page_for
from app.session import LOCAL_OWNER
from app.sign_in import Loopback
from app.traffic import Traffic
from app.upload_quota import UploadQuota
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio
from tests.app.conftest import Past

HTML = b"<!doctype html><script>alert(1)</script>"
OURS = {"sec-fetch-site": "same-origin"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(quiet_studio: Studio, storage_settings: Settings) -> gr.routes.App:
    page = page_for(quiet_studio, Loopback())
    options = options_behind_door(quiet_studio, Loopback(), storage_settings, Traffic())
    return gr.routes.App.create_app(page, app_kwargs=options["app_kwargs"])


@pytest.fixture
def client(app: gr.routes.App) -> Iterator[TestClient]:
    yield TestClient(app, base_url="http://127.0.0.1", headers=OURS, raise_server_exceptions=False)


@pytest.fixture
def inside() -> Iterator[ThreadingHTTPServer]:
    """Something in the studio's own network that counts who asks."""

    class Asked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)  # type: ignore[attr-defined]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_every_answer_says_what_a_browser_may_load(client: TestClient) -> None:
    for path in ("/api/runs", "/healthz", "/nothing", "/media/loras/x"):
        headers = client.get(path).headers
        assert "frame-ancestors 'self' https://huggingface.co" in headers["content-security-policy"] or (
            "sandbox" in headers["content-security-policy"]
        )
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")


@pytest.mark.parametrize("name", ["log.txt", "samples/x.png", "samples/x.webp", "x.safetensors"])
def test_what_people_store_never_comes_back_as_a_page(
    client: TestClient, storage: Storage, past: Past, name: str
) -> None:
    run = past.training(wishes={"sample_prompts": ["<script>alert(1)</script>"]})
    storage.loras.put(run.prefix + name, HTML)
    reply = client.get(f"/media/loras/{run.prefix}{name}")
    assert reply.content == HTML
    assert "html" not in reply.headers["content-type"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"] == "default-src 'none'; sandbox"
    for path in (f"/api/runs/{run.run_id}", f"/api/runs/{run.run_id}/log", "/api/runs"):
        assert "html" not in client.get(path).headers["content-type"]


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.json", "x"])
def test_nothing_else_is_handed_out_at_all(client: TestClient, storage: Storage, name: str) -> None:
    key = f"loras/{LOCAL_OWNER}/x/{name}"
    storage.loras.put(key, HTML)
    assert client.get(f"/media/loras/{key}").status_code == 404


def test_no_value_of_a_form_makes_gradio_fetch_something(
    app: gr.routes.App, client: TestClient, inside: ThreadingHTTPServer
) -> None:
    url = f"http://127.0.0.1:{inside.server_port}/secrets"
    file: dict[str, Any] = {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}}
    tried = 0
    for number, event in app.get_blocks().fns.items():
        if event.fn is not None and event.inputs:
            body = {"fn_index": number, "data": [file] * len(event.inputs), "event_data": file, "session_hash": "s"}
            client.post("/gradio_api/run/predict", json=body)
            tried += 1
    assert tried > 5
    assert inside.asked == []  # type: ignore[attr-defined]


class TestQuota:
    def client(self, **marks: Any) -> TestClient:
        """An app whose door takes everybody for one person, and that says how much came."""

        async def take(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(len(await request.body())))

        app = Starlette(
            routes=[Route("/{path:path}", take, methods=["POST"])],
            middleware=[Middleware(UploadQuota, most_file_bytes=2**20)],
        )
        return TestClient(app)

    def test_one_file_is_bounded(self) -> None:
        client = self.client()
        assert client.post("/gradio_api/upload", content=b"x" * 2**20).text == str(2**20)
        assert client.post("/gradio_api/upload", content=b"x" * (2**20 + 1)).status_code == 413
        assert client.post("/gradio_api/upload/", content=b"x" * (2**20 + 1)).status_code == 413

    def test_a_message_is_bounded_too(self) -> None:
        assert self.client().post("/gradio_api/component_server", content=bytes(17 * 2**20)).status_code == 413

    def test_what_does_not_say_how_long_it_is_is_not_taken(self) -> None:
        assert self.client().post("/gradio_api/upload", content=iter([b"x"])).status_code == 411

    def test_a_day_is_bounded(self) -> None:
        client = self.client()
        answers = [client.post("/gradio_api/upload", content=b"x").status_code for _ in range(501)]
        assert answers == [200] * 500 + [429]

    def test_the_studios_own_uploads_have_their_own_limits(self) -> None:
        assert self.client().post("/api/datasets/x/files", content=bytes(2**21)).status_code == 200


def test_what_gradio_cannot_read_is_refused(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    for path in ("/gradio_api/queue/join", "/gradio_api/component_server", "/gradio_api/call/list"):
        for body in (b'{"name": 1e999}', b'{"name": "\\ud800"}', b"[" * 100_000, b"{", b"\xff"):
            reply = client.post(path, content=body, headers=headers)
            assert reply.status_code in (400, 422), (path, body[:20], reply.text)
            assert len(reply.content) < 300


def test_a_lora_is_sent_as_it_is(client: TestClient, storage: Storage) -> None:
    key = f"loras/{LOCAL_OWNER}/train-1/zorbot.safetensors"
    storage.loras.put(key, b"zorbot" * 1000)
    lora = client.get(f"/media/loras/{key}", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in lora.headers
    assert lora.content == b"zorbot" * 1000
