"""What calls hear while storage says nothing, and after it. The waits are shorter than the app's, not the code."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.config import Config

from backend.errors import StorageError
from backend.settings import Settings
from backend.silence import Silence
from backend.storage import Bucket
from tests.wire import Wire

WAITS_S = 0.5


class Client:
    """A bucket of a client that gives up soon and counts what it sends."""

    def __init__(self, settings: Settings, endpoint: str) -> None:
        config = Config(read_timeout=WAITS_S, connect_timeout=WAITS_S, s3={"addressing_style": "path"})
        client: Any = boto3.client(
            "s3", endpoint_url=endpoint, region_name="auto", config=config,
            aws_access_key_id=settings.r2_access_key_id,
            aws_secret_access_key=settings.r2_secret_access_key.get_secret_value(),
        )  # fmt: skip
        self.sent = 0
        client.meta.events.register("before-send.s3", self._count)
        Silence(client, settings.r2_lora_bucket)
        self.bucket = Bucket(client, settings.r2_lora_bucket)

    def _count(self, **_: Any) -> None:
        self.sent += 1


def test_once_one_call_waited_in_vain_the_next_are_told_at_once(storage_settings: Settings, owner: str) -> None:
    wire = Wire(int(storage_settings.r2_endpoint_url.rsplit(":", 1)[1]))
    client = Client(storage_settings, f"http://127.0.0.1:{wire.port}")
    client.bucket.put(f"{owner}/before", b"1")
    wire.hold()
    with pytest.raises(StorageError, match="is not responding"):
        client.bucket.get(f"{owner}/before")
    sent = client.sent
    for _ in range(3):
        with pytest.raises(StorageError, match="is not responding"):
            client.bucket.get(f"{owner}/before")
    assert client.sent == sent

    wire.release()
    deadline = time.monotonic() + 30
    while True:
        try:
            assert client.bucket.get(f"{owner}/before") == b"1"
            break
        except StorageError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture
def slow_for_some() -> Iterator[str]:
    """A storage that never answers what is called 'slow', and everything else at once."""
    over = threading.Event()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            if self.path.endswith("slow"):
                over.wait(30)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.send_header("ETag", '"x"')
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    over.set()
    server.shutdown()
    server.server_close()


def test_one_slow_call_is_no_silence(storage_settings: Settings, slow_for_some: str) -> None:
    client = Client(storage_settings, slow_for_some)
    failed: list[StorageError] = []

    def ask_what_is_slow() -> None:
        try:
            client.bucket.head("slow")
        except StorageError as error:
            failed.append(error)

    waits = threading.Thread(target=ask_what_is_slow)
    waits.start()
    while waits.is_alive():
        assert client.bucket.exists("quick")
        time.sleep(WAITS_S / 10)
    assert failed
    assert client.bucket.exists("quick")
