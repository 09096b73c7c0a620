"""Fetches a file from an address a stranger gave, without letting it reach into the worker's own network."""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from backend.errors import Cancelled, DatasetRejected

MAX_REDIRECTS = 5
CONNECT_S = 10.0
SILENCE_S = 30.0  # between two pieces
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}


class Limit(NamedTuple):
    """How much of an answer is taken, and until when."""

    shown: str  # whose answer it is
    bytes: int
    deadline: float
    timeout_s: float
    stopped: threading.Event


def download(
    url: str, path: Path, *, max_bytes: int, timeout_s: float, own_endpoint: str, stopped: threading.Event
) -> None:
    """Write what is at `url` to `path`.

    Only public hosts are asked, and `own_endpoint`, where presigned addresses lead. Raises DatasetRejected in words,
    Cancelled when `stopped` is set meanwhile.
    """
    deadline = time.monotonic() + timeout_s
    timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
    # Each host is resolved here, checked, and asked at the address that was checked: a name that
    # resolves differently the second time gains nothing. Hence neither a proxy nor automatic redirects.
    with httpx.Client(timeout=timeout, trust_env=False) as client:
        for _ in range(MAX_REDIRECTS + 1):
            with _answer(client, url, own_endpoint) as answer:
                if not answer.has_redirect_location:
                    _save(answer, path, Limit(_shown(url), max_bytes, deadline, timeout_s, stopped))
                    return
                url = str(httpx.URL(url).join(answer.headers["location"]))
    raise DatasetRejected(f"The dataset's address redirects more than {MAX_REDIRECTS} times.", "Give the final one.")


@contextmanager
def _answer(client: httpx.Client, url: str, own_endpoint: str) -> Iterator[httpx.Response]:
    parts = httpx.URL(url)
    address = _checked_address(url, own_endpoint)
    request = client.build_request(
        "GET", parts.copy_with(host=address), headers={"Host": parts.netloc.decode()}, extensions={}
    )
    request.extensions["sni_hostname"] = parts.host
    shown = _shown(url)
    try:
        answer = client.send(request, stream=True)
    except httpx.TransportError as error:
        raise DatasetRejected(
            f"{shown} does not answer ({type(error).__name__}).", "Check the dataset's address."
        ) from error
    try:
        yield answer
    except httpx.TransportError as error:
        raise DatasetRejected(f"{shown} stopped answering ({type(error).__name__}).", "Try again.") from error
    finally:
        answer.close()


def _checked_address(url: str, own_endpoint: str) -> str:
    """Return the address to ask. Raises DatasetRejected unless every address of the host is public."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise DatasetRejected(f"{_shown(url)} is no http or https address.", "Give one that begins with https://.")
    try:
        port = parts.port or _PORTS[parts.scheme]
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise DatasetRejected(
            f"The host {parts.hostname} can't be found.", "Check the spelling of the dataset's address."
        ) from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    own = urlsplit(own_endpoint)
    is_own = (parts.hostname, port) == (own.hostname, own.port or _PORTS.get(own.scheme))
    if not is_own and not all(_is_public(address) for address in addresses):
        raise DatasetRejected(
            f"{parts.hostname} is inside a private network; datasets are fetched from public hosts only.",
            "Upload the dataset to object storage and give its key or a presigned address.",
        )
    return addresses[0]


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.split("%")[0])
    # An IPv6 address that carries an IPv4 address leads wherever that one does.
    if isinstance(ip, ipaddress.IPv6Address) and (ip.ipv4_mapped or ip.sixtofour or ip.teredo or ip in _NAT64):
        return False
    return ip.is_global and not ip.is_multicast


def _save(answer: httpx.Response, path: Path, limit: Limit) -> None:
    if answer.status_code != 200:
        raise DatasetRejected(
            f"{limit.shown} answered {answer.status_code} {answer.reason_phrase}.",
            "Check that the address is right and has not expired.",
        )
    received = 0
    with path.open("wb") as file:
        for piece in answer.iter_bytes():
            received += len(piece)
            if received > limit.bytes:
                raise DatasetRejected(f"{limit.shown} is larger than {limit.bytes / 2**20:,.0f} MB.", "Split it.")
            if time.monotonic() > limit.deadline:
                raise DatasetRejected(
                    f"{limit.shown} took longer than {limit.timeout_s:g} s to download.",
                    "Use a faster host or a smaller file.",
                )
            if limit.stopped.is_set():
                raise Cancelled("Cancelled while the dataset was downloaded.")
            file.write(piece)


def _shown(url: str) -> str:
    """An address without its query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
