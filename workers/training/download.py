"""Fetches a file from an address a stranger gave, without letting it reach into the worker's own network.

Only our own storage and the hosts that the settings name are asked; a download that breaks off is gone on with.
"""

import fnmatch
import ipaddress
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

import httpx

from backend.errors import Cancelled, DatasetRejected

MAX_REDIRECTS = 5
MAX_DROPS = 5  # how often a connection may break off
PAUSE_S = 1.0  # before it is made again
CONNECT_S = 10.0
SILENCE_S = 30.0  # between two pieces
_UNICAST = ipaddress.ip_network("2000::/3")  # where all of the public internet's IPv6 is
_PORTS = {"http": 80, "https": 443}


class Allowed(NamedTuple):
    """Who may be asked."""

    own_endpoint: str  # where our own storage's presigned addresses lead
    hosts: str  # others, over https: names or patterns such as *.example.com, comma between; * is any public host

    def is_own(self, host: str, port: int) -> bool:
        own = urlsplit(self.own_endpoint)
        return (host, port) == (own.hostname, own.port or _PORTS.get(own.scheme))

    def names(self, host: str) -> bool:
        patterns = (pattern.strip().lower() for pattern in self.hosts.split(","))
        return any(fnmatch.fnmatchcase(host.lower(), pattern) for pattern in patterns if pattern)


class Limit(NamedTuple):
    """How much is taken, and until when."""

    bytes: int
    deadline: float
    timeout_s: float
    stopped: threading.Event


@dataclass
class Arrived:
    """What has come so far."""

    file: BinaryIO
    bytes: int = 0
    validator: str = ""  # what says at the next request that the rest is of the same file

    def asks_for(self) -> dict[str, str]:
        """Return the headers that ask for the rest; without a validator everything is asked for again."""
        if not self.bytes or not self.validator:
            return {}
        return {"Range": f"bytes={self.bytes}-", "If-Range": self.validator}

    def takes_up(self, answer: httpx.Response) -> bool:
        """Return whether an answer holds the file from the beginning, or from where the last one broke off."""
        if answer.status_code == 206 and self.bytes:
            return str(answer.headers.get("content-range", "")).startswith(f"bytes {self.bytes}-")
        if answer.status_code != 200:
            return False
        self.file.seek(0)
        self.file.truncate()
        self.bytes = 0
        # A weak tag may stay while bytes change; and what is unpacked on arrival has no place to go on from.
        tag = answer.headers.get("etag", "")
        self.validator = "" if tag.startswith("W/") or "content-encoding" in answer.headers else tag
        return True


def download(
    url: str, path: Path, *, max_bytes: int, timeout_s: float, allowed: Allowed, stopped: threading.Event
) -> None:
    """Write what is at `url` to `path`.

    Raises DatasetRejected in words, Cancelled when `stopped` is set meanwhile.
    """
    limit = Limit(max_bytes, time.monotonic() + timeout_s, timeout_s, stopped)
    timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
    # Each host is resolved here, checked, and asked at the address that was checked: a name that
    # resolves differently the second time gains nothing. Hence neither a proxy nor automatic redirects.
    with httpx.Client(timeout=timeout, trust_env=False) as client, path.open("wb") as file:
        arrived = Arrived(file)
        for drops in itertools.count(1):
            try:
                _fetch(client, url, allowed, arrived, limit)
                return
            except httpx.TransportError as error:
                why = type(error).__name__
                if not arrived.bytes:
                    raise DatasetRejected(
                        f"{_shown(url)} is not responding ({why}).", "Check the dataset's address."
                    ) from error
                if drops > MAX_DROPS:
                    raise DatasetRejected(
                        f"{_shown(url)} broke off {drops} times, the last time after {arrived.bytes:,} bytes ({why}).",
                        "Try again, or use another host.",
                    ) from error
            if stopped.wait(PAUSE_S):
                raise Cancelled("Cancelled while the dataset was downloaded.")


def _fetch(client: httpx.Client, url: str, allowed: Allowed, arrived: Arrived, limit: Limit) -> None:
    """Write what has not arrived yet. Raises httpx.TransportError when the connection breaks off."""
    for _ in range(MAX_REDIRECTS + 1):
        with _answer(client, url, allowed, arrived.asks_for()) as answer:
            if not answer.has_redirect_location:
                _save(answer, _shown(url), arrived, limit)
                return
            url = str(httpx.URL(url).join(answer.headers["location"]))
    raise DatasetRejected(f"The dataset's address redirects more than {MAX_REDIRECTS} times.", "Give the final one.")


@contextmanager
def _answer(client: httpx.Client, url: str, allowed: Allowed, headers: dict[str, str]) -> Iterator[httpx.Response]:
    parts = httpx.URL(url)
    address = _checked_address(url, allowed)
    request = client.build_request(
        "GET",
        parts.copy_with(host=address),
        headers={"Host": parts.netloc.decode(), "Accept-Encoding": "identity", **headers},
        extensions={},
    )
    request.extensions["sni_hostname"] = parts.host
    answer = client.send(request, stream=True)
    try:
        yield answer
    finally:
        answer.close()


def _checked_address(url: str, allowed: Allowed) -> str:
    """Return the address to ask. Raises DatasetRejected unless it is our own storage's, or allowed and public."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise DatasetRejected(f"{_shown(url)} is no http or https address.", "Give one that begins with https://.")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise DatasetRejected(f"{_shown(url)} has no valid port.", "Correct the dataset's address.") from error
    is_own = allowed.is_own(parts.hostname, port)
    if not is_own:
        _check_allowed(parts.scheme, parts.hostname, url, allowed)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise DatasetRejected(
            f"The host {parts.hostname} can't be found.", "Check the spelling of the dataset's address."
        ) from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not is_own and not all(_is_public(address) for address in addresses):
        raise DatasetRejected(
            f"{parts.hostname} is inside a private network; datasets are fetched from public hosts only.",
            "Upload the dataset to object storage and give its key or a presigned address.",
        )
    return addresses[0]


def _check_allowed(scheme: str, host: str, url: str, allowed: Allowed) -> None:
    if not allowed.names(host):
        raise DatasetRejected(
            f"Datasets are not fetched from {host}.",
            "Upload the dataset to object storage and give its key or a presigned address, "
            "or name the host in the worker's ATELIER_DATASET_HOSTS.",
        )
    if scheme != "https":
        raise DatasetRejected(f"{_shown(url)} is not encrypted.", "Give an address that begins with https://.")


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.split("%")[0])
    # An IPv6 address that carries an IPv4 address leads wherever that one does; most kinds lie outside unicast.
    if isinstance(ip, ipaddress.IPv6Address) and (ip not in _UNICAST or ip.sixtofour or ip.teredo):
        return False
    return ip.is_global and not ip.is_multicast


def _save(answer: httpx.Response, shown: str, arrived: Arrived, limit: Limit) -> None:
    if not arrived.takes_up(answer):
        raise DatasetRejected(
            f"{shown} answered {answer.status_code} {answer.reason_phrase}.",
            "Check that the address is right and has not expired.",
        )
    for piece in answer.iter_bytes():
        if arrived.bytes + len(piece) > limit.bytes:
            raise DatasetRejected(f"{shown} is larger than {limit.bytes / 2**20:,.0f} MB.", "Split it.")
        if time.monotonic() > limit.deadline:
            raise DatasetRejected(
                f"{shown} took longer than {limit.timeout_s:g} s to download.",
                "Use a faster host or a smaller file.",
            )
        if limit.stopped.is_set():
            raise Cancelled("Cancelled while the dataset was downloaded.")
        arrived.file.write(piece)
        arrived.bytes += len(piece)


def _shown(url: str) -> str:
    """An address without its query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
