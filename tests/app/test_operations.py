"""What whoever runs a studio goes by: health, readiness, logs, figures."""

import json
import logging
import threading
import time
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.door import Door
from app.logs import JsonLines, Lines, set_up_logging
from app.metrics import metrics_route
from app.routes import routes
from app.sign_in import sign_in_for
from app.traffic import Traffic, Watched
from backend.settings import Settings
from backend.studio import Studio

PASSWORD = "correct horse battery"
TOKEN = "a collector's own token"


def watched(studio: Studio, traffic: Traffic, **settings: Any) -> TestClient:
    """The studio's routes behind its door, with what watches them."""
    given = Settings.model_validate(settings)
    sign_in = sign_in_for(given)
    metrics = metrics_route(studio, given, traffic)
    before = [Middleware(Watched, traffic=traffic), Middleware(Door, sign_in=sign_in)]
    app = Starlette(routes=[*sign_in.routes, metrics, *routes(studio)], middleware=before)
    return TestClient(app, base_url="http://127.0.0.1")


def record(message: str, *values: object, error: Exception | None = None) -> logging.LogRecord:
    caught = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("x", logging.WARNING, "x.py", 1, message, values, caught)


def test_a_line_of_json_names_the_run_and_keeps_secrets(storage_settings: Settings) -> None:
    settings = storage_settings.model_copy(
        update={"hf_token": Settings.model_validate({"hf_token": "hf_abcdefgh"}).hf_token}
    )
    run_id = "train-8204486002726-f35fdebb"
    error = ValueError(f"refused {settings.r2_access_key_id}")
    text = JsonLines(settings).format(record("run %s with %s", run_id, "hf_abcdefgh", error=error))
    line = json.loads(text)
    assert (line["run_id"], line["level"], line["message"]) == (run_id, "warning", f"run {run_id} with [secret]")
    assert "refused [secret]" in line["traceback"]
    assert "hf_abcdefgh" not in Lines(settings).format(record("it is hf_abcdefgh"))


def test_readiness_is_told_to_everybody_and_says_no_secrets(quiet_studio: Studio) -> None:
    reply = watched(quiet_studio, Traffic(), atelier_password=PASSWORD).get("/readyz")
    assert reply.status_code == 503  # nothing listens at RunPod's address
    assert reply.json()["lora bucket"] == "ok"
    assert set(reply.json()) == {
        "ready",
        "lora bucket",
        "output bucket",
        "training endpoint",
        "image generation endpoint",
    }


def test_figures_are_for_the_owner_or_whoever_has_the_token(quiet_studio: Studio) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    closed = watched(quiet_studio, Traffic(), atelier_password=PASSWORD)
    assert closed.get("/metrics").status_code == 401
    assert closed.get("/metrics", headers=bearer).status_code == 404
    assert closed.get("/metrics", headers={"authorization": "Bearer "}).status_code == 404
    client = watched(quiet_studio, Traffic(), atelier_password=PASSWORD, atelier_metrics_token=TOKEN)
    assert client.get("/metrics", headers={"authorization": "Bearer another"}).status_code == 404
    assert client.get("/metrics", headers=bearer).status_code == 200
    client.post("/login", data={"password": PASSWORD})
    assert client.get("/metrics").status_code == 200


def test_figures_are_what_prometheus_reads(quiet_studio: Studio) -> None:
    client = watched(quiet_studio, Traffic())
    for path in ("/api/runs", "/healthz", '/nothing"here'):
        client.get(path)
    lines = client.get("/metrics").text.splitlines()
    assert 'atelier_requests_total{method="GET",area="api/runs",status="200"} 1' in lines
    assert 'atelier_request_seconds_bucket{le="+Inf"} 3' in lines
    assert 'atelier_requests_total{method="GET",area="other",status="404"} 1' in lines
    for line in lines:
        assert line.startswith("# ") or float(line.rpartition(" ")[2]) >= 0, line


def test_what_changes_things_fails_or_is_slow_is_logged(quiet_studio: Studio, caplog: pytest.LogCaptureFixture) -> None:
    client = watched(quiet_studio, Traffic())
    with caplog.at_level(logging.INFO, "atelier.requests"):
        client.get("/api/runs")
        client.post("/api/generations/cancel", headers={"sec-fetch-site": "same-origin"})
    assert [(each.method, each.status) for each in caplog.records if each.name == "atelier.requests"] == [("POST", 204)]


def test_requests_under_way_are_let_finish_and_no_more_are_taken() -> None:
    traffic, heard = Traffic(), threading.Event()

    def slow(request: Request) -> PlainTextResponse:
        heard.set()
        time.sleep(0.5)
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/", slow)], middleware=[Middleware(Watched, traffic=traffic)])
    replies: list[str] = []
    with TestClient(app) as client:
        asking = threading.Thread(target=lambda: replies.append(client.get("/").text))
        asking.start()
        assert heard.wait(5)
        assert traffic.drain(5) == 0
        asking.join(5)
        late = client.get("/")
    assert (replies, late.status_code, late.headers["retry-after"]) == (["done"], 503, "15")


def test_what_does_not_finish_is_counted() -> None:
    traffic = Traffic()
    traffic.begin()
    assert traffic.drain(0.05) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_a_thread_is_logged_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back at the end, as what follows is
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logging(Settings.model_validate({"hf_token": "hf_abcdefgh", "atelier_log": "json"}))
        for why in ("hf_abcdefgh is refused", "`spaces` package is required to run hot-reloading in Spaces"):
            thread = threading.Thread(target=_end_with, args=(why,), name="watcher")
            thread.start()
            thread.join()
    finally:
        root.handlers[:], root.level = handlers, level
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "watcher ended"
    assert "[secret] is refused" in json.loads(line)["traceback"]


def _end_with(why: str) -> None:
    raise RuntimeError(why)
