"""What /readyz goes by: the real S3 server, and a RunPod that answers, refuses or hangs."""

import socket
import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from backend.operations.readiness import Readiness
from backend.runs.runpod_client import Endpoint
from backend.settings import Settings
from backend.storage import Storage
from tests.backend.runpod_server import RunPodServer


@pytest.fixture
def runpod() -> Iterator[RunPodServer]:
    server = RunPodServer()
    yield server
    server.close()


def readiness(storage: Storage, port: int) -> Readiness:
    settings = Settings(runpod_base_url=f"http://127.0.0.1:{port}/v2", runpod_api_key=SecretStr("key"))
    return Readiness(storage, [Endpoint(settings, "t", "training")])


def test_it_is_ready_when_everything_answers(storage: Storage, runpod: RunPodServer) -> None:
    looking = readiness(storage, runpod.http.server_port)
    report = looking.look()
    looking.close()
    assert report.ready
    assert report.parts == {"lora bucket": "ok", "output bucket": "ok", "training endpoint": "ok"}


def test_what_is_away_is_named_and_nothing_else_is_said() -> None:
    secret = {"r2_endpoint_url": "http://127.0.0.1:9", "r2_access_key_id": "key", "r2_secret_access_key": "secret"}
    looking = readiness(Storage(Settings.model_validate(secret)), 9)
    report = looking.look()
    looking.close()
    assert not report.ready
    assert set(report.parts.values()) <= {"not reachable", "silent for 3 s"}


def test_it_answers_in_time_and_asks_but_once_when_something_hangs(storage: Storage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        looking = readiness(storage, hangs.getsockname()[1])
        began = time.monotonic()
        reports = [looking.look(), looking.look()]
        took = time.monotonic() - began
        looking.close()
    assert took < 4
    assert [report.parts["training endpoint"] for report in reports] == ["silent for 3 s"] * 2
