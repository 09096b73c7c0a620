"""Secrets are planted, a whole journey is made, and everything that came of it is searched for them."""

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import itsdangerous
import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.testclient import TestClient

from app.door import Door
from app.routes import routes
from app.sign_in import sign_in_for
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio
from tests.conftest import LoopThread
from tests.journeys.conftest import STILL
from tests.served import ServedStudio
from workers.local.object_store import ObjectStore

PLANTED = {
    "HF_TOKEN": "hf_PlantedTokenOfTheOwner",
    "ATELIER_PASSWORD": "planted-password-1234",
    "SESSION_SECRET": "planted-session-secret",
    "ATELIER_METRICS_TOKEN": "planted-metrics-token",
}
OAUTH_TOKEN = "hf_oauth_PlantedTokenOfAPerson"
SIGNED_WITH = re.compile(rb"X-Amz-Credential=[\w-]+")
LONG = 150_000  # milliseconds on a busy machine
READ = (
    "/", "/config", "/gradio_api/info", "/theme.css", "/healthz", "/readyz", "/metrics",
    "/api/me", "/api/usage", "/api/runs", "/api/datasets",
    "/api/loras", "/api/loras/library", "/api/generations", "/api/gallery", "/api/gallery/summary",
    "/api/runs/train-8204486002726-f35fdebb", "/api/runs/x", "/nothing", "/media/loras/credentials.json",
)  # fmt: skip


class Journey(NamedTuple):
    """Everything that could be seen of one."""

    answers: dict[str, bytes]
    logs: str
    home: Path
    secrets: dict[str, str]


class Visitor:
    """Somebody in front of a studio who keeps every answer, its headers too."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30, headers={"sec-fetch-site": "same-origin"})
        self.answers: dict[str, bytes] = {}

    def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        reply = self.http.request(method, path, **sent)
        told = "\n".join(f"{name}: {value}" for name, value in reply.headers.items())
        self.answers[f"{method} {path} {len(self.answers)}"] = told.encode() + reply.content
        return reply


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Journey]:
    home = tmp_path_factory.mktemp("home")
    environment = PLANTED | {"ATELIER_HOME": str(home), "ATELIER_LOG": "json"}
    with (home / "stderr.log").open("w") as said, ServedStudio(environment, stdout=said, stderr=said) as studio:
        visitor = Visitor(studio.url)
        with visitor.http:
            travel(visitor, browser)
    keys = json.loads((home / "credentials.json").read_text())
    secrets = PLANTED | {
        "R2_ACCESS_KEY_ID": keys["access_key_id"],
        "R2_SECRET_ACCESS_KEY": keys["secret_access_key"],
        "RUNPOD_API_KEY": keys["api_key"],
    }
    yield Journey(visitor.answers, (home / "stderr.log").read_text(), home, secrets)


def travel(visitor: Visitor, browser: Browser) -> None:
    """Sign in, train, make a picture, fail in several ways, read everything, and sign out."""
    context = browser.new_context(**STILL)
    press(visitor, context.new_page())
    context.close()
    visitor.ask("GET", "/", headers={"accept": "text/html"})
    visitor.ask("POST", "/login", data={"password": "a wrong password"})
    visitor.ask("POST", "/login", data={"password": PLANTED["ATELIER_PASSWORD"]})
    run_id = visitor.ask("GET", "/api/runs").json()["runs"][0]["run_id"]
    for path in (*READ, *(f"/api/runs/{run_id}{part}" for part in ("", "/log", "/curve")), f"/api/loras/runs/{run_id}"):
        visitor.ask("GET", path)
    bearer = {"authorization": f"Bearer {PLANTED['ATELIER_METRICS_TOKEN']}"}
    visitor.ask("GET", "/metrics", headers=bearer)
    for path in ("/api/datasets", "/api/gallery/delete", "/api/runs/x/cancel", f"/api/runs/{run_id}/extend"):
        visitor.ask("POST", path, content=b"{not json")
    lora_id = run_id
    visitor.ask("GET", f"/api/loras/{lora_id}")
    visitor.ask("POST", f"/api/loras/{lora_id}/publish", json={"name": "x"})
    visitor.ask("GET", "/logout")


def press(visitor: Visitor, page: Page) -> None:
    """Do the studio's work in a browser, and keep what the page is made of."""
    page.goto(str(visitor.http.base_url))
    page.get_by_label("Password").fill(PLANTED["ATELIER_PASSWORD"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=re.compile("sample pictures", re.IGNORECASE)).click()
    expect(page.get_by_text("12 pictures", exact=True)).to_be_visible()
    page.get_by_label("Name", exact=True).fill("Planted")
    page.get_by_role("spinbutton", name=re.compile("Steps")).first.fill("10")
    page.get_by_role("button", name="Start training").click()
    use = page.get_by_role("button", name="Use in Generate")
    expect(use).to_be_visible(timeout=LONG)
    visitor.answers["the page of a run"] = page.content().encode()
    use.click()
    page.get_by_label("Prompt", exact=True).fill("a zorbot, planted")
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    expect(page.locator(".image-feed article").first.locator("img").first).to_be_visible(timeout=LONG)
    page.locator(".account-open").click()
    expect(page.get_by_role("heading", name="Whoever has the password")).to_be_visible()
    visitor.answers["the page of pictures"] = page.content().encode()
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    visitor.answers["what the browser keeps for scripts"] = kept.encode()


def shapes_of(secret: str) -> list[bytes]:
    """The ways in which it could be written down."""
    plain = secret.encode()
    return [plain, base64.b64encode(plain).rstrip(b"="), quote(secret, safe="").encode(), plain.hex().encode()]


def found_in(data: bytes, secrets: dict[str, str]) -> list[str]:
    # A presigned address can't do without the key's id, and is the one place for it.
    data = SIGNED_WITH.sub(b"", data)
    return [name for name, secret in secrets.items() if any(shape in data for shape in shapes_of(secret))]


def test_no_answer_holds_a_secret(journey: Journey) -> None:
    assert len(journey.answers) > 35
    assert b"Planted" in b"".join(journey.answers.values())
    assert {name: found for name, data in journey.answers.items() if (found := found_in(data, journey.secrets))} == {}


def test_no_log_holds_a_secret(journey: Journey) -> None:
    lines = [json.loads(line) for line in journey.logs.splitlines() if line.startswith("{")]
    assert any(line.get("run_id", "").startswith("train-") for line in lines), journey.logs
    assert found_in(journey.logs.encode(), journey.secrets) == []
    logs = {path.name: path.read_bytes() for path in journey.home.glob("logs/*")}
    assert {"training.log", "image_generation.log", "machine.log"} <= set(logs)
    assert {name: found for name, data in logs.items() if (found := found_in(data, journey.secrets))} == {}


def test_no_job_holds_a_secret(journey: Journey) -> None:
    queue = b"".join(path.read_bytes() for path in journey.home.glob("queue.db*"))
    assert b"Planted" in queue
    assert found_in(queue, journey.secrets) == []


def test_nothing_stored_holds_a_secret(journey: Journey) -> None:
    loop, store = LoopThread(), ObjectStore(journey.home)
    loop.run(store.start())
    try:
        storage = Storage(Settings.model_validate({name.lower(): value for name, value in store.environment.items()}))
        buckets = (storage.loras, storage.outputs)
        stored = {each.key: bucket.get(each.key) for bucket in buckets for each in bucket.list_all("")}
    finally:
        loop.run(store.stop())
        loop.close()
    kinds = {key.split("/")[0].partition("-")[0] for key in stored}
    assert {"datasets", "runs", "loras", "images", "records", "ledger"} <= kinds
    assert {key: found for key, data in stored.items() if (found := found_in(data, journey.secrets))} == {}


def test_a_file_with_keys_can_be_read_by_its_owner_alone(journey: Journey) -> None:
    holding = [
        path
        for path in journey.home.rglob("*")
        if path.is_file() and found_in(path.read_bytes(), journey.secrets) and path.stat().st_mode & 0o077
    ]
    assert holding == []


def test_a_persons_token_of_hugging_face_goes_nowhere(
    storage_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    space = {"space_id": "ann/studio", "oauth_client_id": "client", "system": "spaces"}
    sign_in = sign_in_for(Settings.model_validate(space))
    user = {"sub": "1", "preferred_username": "ann"}
    info = {"userinfo": user, "expires_at": time.time() + 60, "access_token": OAUTH_TOKEN, "scope": "contribute-repos"}
    session = base64.b64encode(json.dumps({"oauth_info": info}).encode())
    studio = Studio.connect(storage_settings)
    middleware = [Middleware(SessionMiddleware, secret_key="gradio's"), Middleware(Door, sign_in=sign_in)]
    client = TestClient(Starlette(routes=routes(studio), middleware=middleware), base_url="https://127.0.0.1")
    client.cookies.set("session", itsdangerous.TimestampSigner("gradio's").sign(session).decode())
    studio.datasets.sample("hf-1")
    answers = [client.get(path, headers={"sec-fetch-site": "same-origin"}) for path in READ]
    studio.close()
    assert sum(reply.status_code == 200 for reply in answers) > 8
    planted = {"token": OAUTH_TOKEN}
    assert [str(reply.url) for reply in answers if found_in(reply.content, planted)] == []
    assert found_in(caplog.text.encode(), planted) == []
    storage = Storage(storage_settings)
    stored = [each.key for each in storage.loras.list_all("") if re.search(r"/hf-1/", each.key)]
    assert stored
    assert [key for key in stored if found_in(storage.loras.get(key), planted)] == []
