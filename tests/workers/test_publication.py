"""In which order a run's story reaches storage. The far end is a server that takes its time."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backend.contract import Progress, new_run_id
from backend.keys import RunKeys
from backend.settings import Settings
from backend.storage import Storage
from workers.publication import published
from workers.report import Report

SLOW_S = 1.0


class SlowAtFirst:
    """A storage whose first answer takes a second. It remembers what it was sent, in the order it stored it."""

    def __init__(self) -> None:
        self.asked = 0
        self.stored: list[bytes] = []
        slow_at_first = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                slow_at_first.asked += 1
                if slow_at_first.asked == 1:
                    slow_at_first.over.wait(SLOW_S)
                slow_at_first.stored.append(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.over = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def slow() -> Iterator[SlowAtFirst]:
    server = SlowAtFirst()
    yield server
    server.over.set()
    server.server.shutdown()
    server.server.server_close()


async def test_what_was_said_last_is_stored_last(slow: SlowAtFirst) -> None:
    settings = Settings(
        r2_endpoint_url=f"http://127.0.0.1:{slow.server.server_port}",
        r2_access_key_id="a",
        r2_secret_access_key="secret",
    )
    report = Report(RunKeys("ada", new_run_id("train")), 1)
    async with published(report, Storage(settings), lambda progress: None):
        while not slow.asked:  # noqa: ASYNC110 - it is counted in another thread
            await asyncio.sleep(0.01)
        report.phase("training")
    slow.over.set()
    while len(slow.stored) < slow.asked:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    told = [Progress.model_validate_json(body) for body in slow.stored if body.startswith(b"{")]
    assert [each.seq for each in told] == sorted(each.seq for each in told)
    assert told[-1].phase == "training"
