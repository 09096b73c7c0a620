"""The RunPod client against a server that misbehaves as RunPod can."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from backend.contract import GenerationRequest
from backend.errors import NotFound, RunPodError
from backend.runs import runpod_client
from backend.runs.runpod_client import Endpoint
from backend.settings import Settings


class Server:
    """Answers each request with the next of the replies it was given, and keeps what it was asked."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, dict[str, object]]] = []
        self.asked: list[tuple[str, dict[str, object], str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.asked.append((self.path, json.loads(body or b"{}"), self.headers["Authorization"]))
                status, reply = server.replies.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(reply).encode())

            do_GET = do_POST

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v2"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def endpoint(server: Server) -> Iterator[Endpoint]:
    settings = Settings(runpod_base_url=server.url, runpod_api_key=SecretStr("planted-key"))
    endpoint = Endpoint(settings, "ep1", "training")
    yield endpoint
    endpoint.close()


REQUEST = GenerationRequest(prompt="a cat", base_model="tiny-flux")


def test_a_job_carries_its_input_and_its_limits(server: Server, endpoint: Endpoint) -> None:
    server.replies = [(200, {"id": "job1", "status": "IN_QUEUE"})]
    assert endpoint.run(REQUEST, execution_timeout_s=60, ttl_s=120) == "job1"
    path, body, key = server.asked[0]
    assert (path, key) == ("/v2/ep1/run", "Bearer planted-key")
    assert body["policy"] == {"executionTimeout": 60_000, "ttl": 120_000}
    assert body["input"]["prompt"] == "a cat"


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_or_broken_server_is_asked_again(server: Server, endpoint: Endpoint, status: int) -> None:
    server.replies = [(status, {}), (200, {"id": "j", "status": "IN_PROGRESS", "workerId": "w"})]
    assert endpoint.status("j").status == "IN_PROGRESS"
    assert len(server.asked) == 2


def test_a_refused_key_is_explained_and_not_shown(server: Server, endpoint: Endpoint) -> None:
    server.replies = [(401, {"error": "unauthorized"})]
    with pytest.raises(RunPodError) as caught:
        endpoint.status("j")
    assert str(caught.value) == "The training endpoint refused the key. Check RUNPOD_API_KEY."


def test_a_forgotten_job_is_not_found(server: Server, endpoint: Endpoint) -> None:
    server.replies = [(404, {})]
    with pytest.raises(NotFound):
        endpoint.status("j")


def test_an_endpoint_that_isn_t_there_is_said_with_its_variable(server: Server) -> None:
    server.replies = [(404, {})] * 2
    settings = Settings(runpod_base_url=server.url, runpod_api_key=SecretStr("planted-key"))
    gone = Endpoint(settings, "ep1", "image generation")
    said = "RunPod knows no such image generation endpoint. Check RUNPOD_IMAGE_GENERATION_ENDPOINT_ID."
    with pytest.raises(RunPodError, match=said):
        gone.run(REQUEST, execution_timeout_s=60, ttl_s=120)
    with pytest.raises(RunPodError, match=said):
        gone.health()
    gone.close()


def test_running_is_another_word_for_in_progress(server: Server, endpoint: Endpoint) -> None:
    server.replies = [(200, {"id": "j", "status": "RUNNING"})]
    assert endpoint.status("j").status == "IN_PROGRESS"


def test_nobody_there_is_said_in_words(server: Server) -> None:
    nowhere = Endpoint(Settings(runpod_base_url="http://127.0.0.1:9/v2"), "ep1", "training")
    with pytest.raises(RunPodError, match="training endpoint is not responding"):
        nowhere.health()
    nowhere.close()


def test_once_it_hangs_no_job_waits_for_it_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runpod_client, "_STATUS_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v2"
        hung = Endpoint(Settings(runpod_base_url=url, runpod_api_key=SecretStr("key")), "ep1", "training")
        for job in ("one", "another"):
            with pytest.raises(RunPodError, match=r"is not responding \(ReadTimeout\)"):
                hung.status(job)
        hung.close()
        silent.setblocking(False)
        silent.accept()[0].close()
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_health_counts_jobs_and_workers(server: Server, endpoint: Endpoint) -> None:
    server.replies = [(200, {"jobs": {"inQueue": 2, "inProgress": 1}, "workers": {"idle": 1, "running": 1}})]
    assert endpoint.health() == (2, 2)
