"""Fetching from a stranger's address: what is taken, and where it may not lead."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backend.errors import Cancelled, DatasetRejected
from workers.training import download as module
from workers.training.download import Allowed, download

PIECE = b"0123456789"


class Site(BaseHTTPRequestHandler):
    """Answers with what the path says."""

    asked: ClassVar[list[tuple[str, str]]] = []  # Range and If-Range of each request for a file that breaks off
    tag: ClassVar[str] = '"one"'

    def do_GET(self) -> None:
        word, _, rest = self.path.split("?")[0].strip("/").partition("/")
        if word == "to":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
        elif word == "bytes":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * int(rest))
        elif word == "drops":
            self._drop(int(rest))
        else:
            self.send_error(403, "Expired")

    def _drop(self, pieces: int) -> None:
        """Give a file of so many pieces, one a connection: each breaks off after it."""
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        Site.asked.append((asked, self.headers.get("If-Range", "")))
        self.send_response(206 if asked else 200)
        self.send_header("ETag", Site.tag)
        self.send_header("Content-Length", str(pieces * len(PIECE) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{pieces * len(PIECE) - 1}/{pieces * len(PIECE)}")
        self.end_headers()
        self.wfile.write(PIECE)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(url: str, path: Path, own: str, max_bytes: int = 1000, stopped: bool = False, hosts: str = "*") -> None:
    event = threading.Event()
    if stopped:
        event.set()
    download(url, path, max_bytes=max_bytes, timeout_s=10, allowed=Allowed(own, hosts), stopped=event)


def test_storage_s_own_addresses_are_taken(site: str, tmp_path: Path) -> None:
    fetch(f"{site}/bytes/999?X-Amz-Signature=1", tmp_path / "a", site)
    assert (tmp_path / "a").stat().st_size == 999


def test_a_redirect_is_followed(site: str, tmp_path: Path) -> None:
    fetch(f"{site}/to//bytes/5", tmp_path / "a", site)
    assert (tmp_path / "a").read_bytes() == b"xxxxx"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:1/a.zip",
        "https://localhost/a.zip",
        "https://10.0.0.1/a.zip",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/a.zip",
        "https://[::ffff:127.0.0.1]/a.zip",
        "https://[::127.0.0.1]/a.zip",
        "https://[::ffff:0:127.0.0.1]/a.zip",
        "https://[64:ff9b:1::127.0.0.1]/a.zip",
        "https://[2002:7f00:1::]/a.zip",
        "https://[64:ff9b::7f00:1]/a.zip",
        "https://0.0.0.0/a.zip",
        "https://2130706433/a.zip",  # 127.0.0.1 as one number
    ],
)
def test_the_private_network_is_out_of_reach(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match="private network"):
        fetch(url, tmp_path / "a", "https://example.r2.cloudflarestorage.com")


def test_a_name_that_resolves_differently_the_second_time_gains_nothing(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asked = int(site.rpartition(":")[2]), []
    real = socket.getaddrinfo

    def resolve(host: object, *rest: Any, **named: Any) -> Any:
        if host != "rebinds.example":
            return real(host, *rest, **named)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    own = f"http://rebinds.example:{port}"
    fetch(f"{own}/bytes/5", tmp_path / "a", own)
    assert (len(asked), (tmp_path / "a").read_bytes()) == (1, b"xxxxx")
    with pytest.raises(DatasetRejected, match=r"rebinds\.example is inside a private network"):
        fetch(f"https://rebinds.example:{port}/a", tmp_path / "a", "https://example.r2.cloudflarestorage.com")


def test_a_name_with_one_private_address_among_others_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("1.1.1.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(DatasetRejected, match="private network"):
        fetch("https://both.example/a.zip", tmp_path / "a", "https://example.r2.cloudflarestorage.com")


def test_a_redirect_does_not_lead_into_it_either(site: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match=r"10\.0\.0\.1 is inside a private network"):
        fetch(f"{site}/to/https://10.0.0.1/x", tmp_path / "a", site)


def test_nor_to_another_scheme(site: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match="no http or https address"):
        fetch(f"{site}/to/file:///etc/passwd", tmp_path / "a", site)


def test_redirects_end(site: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match="more than 5 times"):
        fetch(f"{site}/to//to//to//to//to//to//to//bytes/1", tmp_path / "a", site)


def test_too_much_is_refused_without_reading_it_all(site: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match="larger than 1 MB"):
        fetch(f"{site}/bytes/9000000", tmp_path / "a", site, max_bytes=2**20)
    assert (tmp_path / "a").stat().st_size <= 2**20


def test_a_refusal_shows_the_address_without_its_signature(site: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match="answered 403 Expired") as caught:
        fetch(f"{site}/gone?X-Amz-Signature=secret", tmp_path / "a", site)
    assert "secret" not in str(caught.value)


def test_nobody_there_is_said_in_words(tmp_path: Path) -> None:
    own = "http://127.0.0.1:9"
    with pytest.raises(DatasetRejected, match="is not responding"):
        fetch(f"{own}/a.zip", tmp_path / "a", own)
    with pytest.raises(DatasetRejected, match=r"host nowhere\.invalid can't be found"):
        fetch("https://nowhere.invalid/a.zip", tmp_path / "a", own)


def test_it_stops_when_told(site: str, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        fetch(f"{site}/bytes/5", tmp_path / "a", site, stopped=True)


def test_only_our_own_storage_is_asked_unless_a_host_is_named(site: str, tmp_path: Path) -> None:
    for hosts in ("", "example.com, *.example.com", "example"):
        with pytest.raises(DatasetRejected, match=r"not fetched from nowhere\.invalid.*ATELIER_DATASET_HOSTS"):
            fetch("https://nowhere.invalid/a.zip", tmp_path / "a", site, hosts=hosts)
    for hosts in ("*", "nowhere.invalid", "example.com, *.invalid"):
        with pytest.raises(DatasetRejected, match="can't be found"):
            fetch("https://Nowhere.Invalid/a.zip", tmp_path / "a", site, hosts=hosts)


def test_nor_does_a_redirect_lead_to_any_other(site: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match=r"not fetched from example\.com"):
        fetch(f"{site}/to/https://example.com/a.zip", tmp_path / "a", site, hosts="")


def test_others_are_asked_over_https_alone(site: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match="not encrypted"):
        fetch("http://example.com/a.zip", tmp_path / "a", site)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0)
    Site.asked.clear()


@pytest.mark.usefixtures("no_pause")
def test_a_download_that_breaks_off_is_gone_on_with(site: str, tmp_path: Path) -> None:
    fetch(f"{site}/drops/3", tmp_path / "a", site)
    assert (tmp_path / "a").read_bytes() == PIECE * 3
    assert Site.asked == [("", ""), ("bytes=10-", '"one"'), ("bytes=20-", '"one"')]


@pytest.mark.usefixtures("no_pause")
def test_without_a_sign_that_it_is_the_same_file_it_begins_again(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Site, "tag", 'W/"weak"')
    with pytest.raises(DatasetRejected, match="broke off 6 times, the last time after 10 bytes"):
        fetch(f"{site}/drops/2", tmp_path / "a", site)
    assert Site.asked == [("", "")] * 6


@pytest.mark.usefixtures("no_pause")
def test_it_gives_up_when_it_keeps_breaking_off(site: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match="broke off 6 times, the last time after 60 bytes"):
        fetch(f"{site}/drops/99", tmp_path / "a", site)
