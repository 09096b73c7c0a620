"""Whose things a request is about, and whether it came from our own page. Who somebody is was asked at the door."""

from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from backend.errors import Forbidden
from backend.loras.hub import HubAccess

LOCAL_OWNER = "local"
_READING = ("GET", "HEAD", "OPTIONS")


class _Headers(Protocol):
    def get(self, name: str) -> str | None: ...


class Caller(Protocol):
    """What Starlette's and Gradio's requests have in common."""

    @property
    def method(self) -> str: ...

    @property
    def headers(self) -> _Headers: ...

    @property
    def state(self) -> Any: ...  # what `app.door` knows of who sent it


def owner_of(request: Caller) -> str:
    """Return whose things this request may see and change.

    Raises Forbidden when another site's page sent it, and when it didn't come through the door.
    """
    if request.method not in _READING and not _is_same_origin(request.headers):
        raise Forbidden("This request came from another site's page.", "Open the studio in its own tab.")
    owner: str = getattr(request.state, "owner", "")
    if not owner:
        raise Forbidden("Nobody is signed in.", "Reload the page and sign in.")
    return owner


class Account(NamedTuple):
    """Who somebody is to themselves and to the studio. An address is '' where there is no such way."""

    name: str = ""  # '' for who is known by nothing but a cookie
    is_keeper: bool = False  # the studio is theirs: they see what everybody uses
    sign_in: str = ""
    sign_out: str = ""


def account_of(request: Caller) -> Account:
    """Return who sent this request, as the door knows them."""
    account: Account = getattr(request.state, "account", Account())
    return account


def hub_access_of(request: Caller) -> HubAccess:
    """Return with what whoever sent this request may publish on the Hub, or what they lack."""
    access: HubAccess = getattr(request.state, "hub", HubAccess(None, "Reload the page and sign in."))
    return access


def _is_same_origin(headers: _Headers) -> bool:
    """Return whether our own page, or no page at all, sent a request."""
    # Browsers set this themselves; 'same-site' would let in whatever else runs on this computer.
    if site := headers.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return not origin or urlsplit(origin).netloc == headers.get("host")
