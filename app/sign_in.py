"""Who somebody is: the three ways a studio can know its people, one of which stands at the door.

On loopback it is whoever sits here; with ATELIER_PASSWORD whoever gave it; on a Space whom Hugging Face says it is.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from typing import Any, Literal, NamedTuple, Protocol

from itsdangerous import BadSignature, TimestampSigner
from pydantic import SecretStr, TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app.arriving import fields_in, pieces
from app.pages import own_page
from app.session import LOCAL_OWNER, Account
from backend.contract import Owner
from backend.errors import AtelierError, Forbidden, InvalidRequest
from backend.loras.hub import HubAccess
from backend.settings import Settings

MIN_PASSWORD = 12  # characters
_COOKIE = "atelier"
_STAY_S = 14 * 24 * 3600
_VISITOR_STAY_S = 365 * 24 * 3600
_WRONG_PASSWORD_WAIT_S, _WRONG_PASSWORDS_AT_ONCE = 1.0, 10
_MOST_FORM_BYTES = 2**20
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})
# Either is enough to create a repository.
_HUB_SCOPES = frozenset({"contribute-repos", "manage-repos"})
_OWNER: TypeAdapter[str] = TypeAdapter(Owner)


class Person(NamedTuple):
    """Somebody who may come in."""

    owner: str
    cookie: str = ""  # a Set-Cookie header, for a visitor seen for the first time
    hub: HubAccess = HubAccess(None, "Sign in with Hugging Face first.")
    account: Account = Account()


class SignIn(Protocol):
    """A way of knowing people."""

    routes: tuple[Route, ...]
    ways_in: frozenset[str]  # the paths that are open to strangers

    def person(self, request: Request) -> Person | None:
        """Return who sent a request, None when that isn't known. Raises Forbidden for somebody who may not come in."""

    def page(self, request: Request, problem: str = "") -> Response:
        """Return the page on which to say who one is. It leads back to what the request asked for."""


def sign_in_for(settings: Settings) -> SignIn:
    """Return the way this studio knows its people. Raises AtelierError when what it needs is missing."""
    password = settings.atelier_password.get_secret_value()
    if settings.space_id and settings.oauth_client_id:
        if settings.system != "spaces":
            raise AtelierError("SYSTEM has to be 'spaces' on a Space, or Gradio's sign-in is a mock.", "Set it.")
        return HuggingFace(settings)
    if password:
        return Password(settings)
    if settings.space_id:
        raise AtelierError(
            "This Space can't tell who its visitors are.",
            "Put 'hf_oauth: true' into the front matter of its README.md, or set ATELIER_PASSWORD.",
        )
    return Loopback(settings.hf_token)


_HERE = Account("You, on this computer", is_keeper=True)
_SHARER = Account("Whoever has the password", is_keeper=True, sign_out="/logout")
_SIGN_IN = "/login/huggingface"


class Loopback:
    """Whoever sits at this computer."""

    routes: tuple[Route, ...] = ()
    ways_in: frozenset[str] = frozenset()

    def __init__(self, hf_token: SecretStr | None = None) -> None:
        missing = "Set HF_TOKEN to a token with write access, and restart the studio."
        self._hub = HubAccess(hf_token) if hf_token else HubAccess(None, missing)

    def person(self, request: Request) -> Person | None:
        # A page elsewhere could give its own name this computer's address, and then count as this studio's own.
        if _host_in(request.headers) not in LOOPBACK_NAMES:
            raise Forbidden("This studio answers on this computer alone.", "Set ATELIER_PASSWORD to open it to others.")
        return Person(LOCAL_OWNER, hub=self._hub, account=_HERE)

    def page(self, request: Request, problem: str = "") -> Response:
        return own_page("Not here", problem, 401)


_SHARED = HubAccess(
    None, "Whoever has the password shares this studio: publish from a Space with sign-in, or from your own computer."
)


class Password:
    """Whoever gave the password; they all share one studio."""

    ways_in = frozenset({"/login", "/logout"})

    def __init__(self, settings: Settings) -> None:
        self._password = settings.atelier_password.get_secret_value()
        if len(self._password) < MIN_PASSWORD:
            raise AtelierError(
                f"ATELIER_PASSWORD has {len(self._password)} characters.", f"Use {MIN_PASSWORD} or more."
            )
        # Another password signs everybody out.
        self._signer = _signer(settings, f"password {self._password}")
        self._framed = bool(settings.space_id)
        self.routes: tuple[Route, ...] = (
            Route("/login", self._log_in, methods=["POST"]),
            Route("/login", _to_the_page),
            Route("/logout", self._log_out),
        )
        self._wrong = 0  # that are being waited for

    def person(self, request: Request) -> Person | None:
        given = _unsigned(self._signer, request.cookies.get(_COOKIE, ""), _STAY_S)
        return Person(LOCAL_OWNER, hub=_SHARED, account=_SHARER) if given == "in" else None

    def page(self, request: Request, problem: str = "") -> Response:
        return own_page("Sign in", problem, 401, form="password", query=request.url.query)

    async def _log_in(self, request: Request) -> Response:
        try:
            given = await _password_in(request)
        except InvalidRequest as error:
            return JSONResponse({"error": str(error)}, 413)
        wants_page = "text/html" in request.headers.get("accept", "")
        if problem := await self._reason_against(given):
            return self.page(request, problem) if wants_page else JSONResponse({"error": problem}, 401)
        reply = _to_the_page(request) if wants_page else JSONResponse({"success": True})
        reply.headers.append("set-cookie", _cookie(request, self._signer.sign("in"), _STAY_S, framed=self._framed))
        return reply

    async def _reason_against(self, given: str) -> str:
        """Return why somebody doesn't come in with what they gave; '' when they do. There is no use guessing."""
        if self._wrong >= _WRONG_PASSWORDS_AT_ONCE:  # told before it is looked at, or guessing would go on
            return "Many wrong passwords are being tried. Try again in a few seconds."
        if hmac.compare_digest(_digest(given), _digest(self._password)):
            return ""
        self._wrong += 1
        try:
            await asyncio.sleep(_WRONG_PASSWORD_WAIT_S)
        finally:
            self._wrong -= 1
        return "This is not the password."

    async def _log_out(self, request: Request) -> Response:
        reply = RedirectResponse("/", 303)
        reply.headers.append("set-cookie", _cookie(request, b"", 0, framed=self._framed))
        return reply


class HuggingFace:
    """Whom Hugging Face says it is; with PUBLIC also whoever comes by, each with things of their own."""

    routes: tuple[Route, ...] = ()  # Gradio brings them
    ways_in = frozenset({_SIGN_IN, "/login/callback"})

    def __init__(self, settings: Settings) -> None:
        keeper = (settings.space_author_name or settings.space_id.split("/")[0]).casefold()
        named = {name.casefold() for name in settings.allowed_users.replace(",", " ").split()}
        self._keeper = keeper
        self._allowed = named | {keeper}
        self._public = settings.public
        self._signer = _signer(settings, "visitor")

    def person(self, request: Request) -> Person | None:
        info = request.scope.get("session", {}).get("oauth_info")
        if not info or float(info.get("expires_at") or 0) < time.time():
            return self._visitor(request) if self._public else None
        user = info["userinfo"]
        name = str(user["preferred_username"])
        names = {name.casefold(), *_organisations(user)}
        if not self._public and not names & self._allowed:
            raise Forbidden(f"{name} is not among the people of this studio.", "Ask its owner to add you.")
        account = Account(name, is_keeper=self._keeper in names, sign_out="/logout")
        return Person(_owner_named(f"hf-{user['sub']}"), hub=_hub_access(info), account=account)

    def page(self, request: Request, problem: str = "") -> Response:
        return own_page("Sign in", problem, 401, form="huggingface", query=request.url.query)

    def _visitor(self, request: Request) -> Person | None:
        if visitor := _unsigned(self._signer, request.cookies.get(_COOKIE, ""), _VISITOR_STAY_S):
            return Person(_owner_named(visitor), account=Account(sign_in=_SIGN_IN))
        if request.url.path != "/" or request.method != "GET":
            return None
        visitor = f"visitor-{secrets.token_hex(16)}"
        cookie = _cookie(request, self._signer.sign(visitor), _VISITOR_STAY_S, framed=True)
        return Person(visitor, cookie=cookie, account=Account(sign_in=_SIGN_IN))


def _to_the_page(request: Request) -> Response:
    """Lead to the studio's page, and to what of it the query says: to no other address, whoever wrote it."""
    return RedirectResponse(f"/?{request.url.query}" if request.url.query else "/", 303)


async def _password_in(request: Request) -> str:
    """Return what a form says. Anybody may send one, and Starlette would take it whole however long it is."""
    body = b"".join([piece async for piece in pieces(request, _MOST_FORM_BYTES)])
    return fields_in(body).get("password", "")


def _hub_access(info: dict[str, Any]) -> HubAccess:
    if not _HUB_SCOPES & set(str(info.get("scope") or "").split()):
        return HubAccess(
            None, "Put 'hf_oauth_scopes: [contribute-repos]' into the front matter of README.md, and sign in again."
        )
    return HubAccess(SecretStr(str(info["access_token"])))


def _organisations(user: dict[str, Any]) -> set[str]:
    return {str(each.get("preferred_username") or each.get("name", "")).casefold() for each in user.get("orgs") or []}


def _owner_named(owner: str) -> str:
    """The account's number, not its name: a name can be given up and taken by somebody else."""
    try:
        return _OWNER.validate_python(owner.lower())
    except ValidationError as error:
        raise Forbidden("Hugging Face named you in a way that this studio can't read.") from error


def _signer(settings: Settings, purpose: str) -> TimestampSigner:
    secret = settings.session_secret.get_secret_value() or secrets.token_hex(32)
    return TimestampSigner(hashlib.sha256(f"{secret} {purpose}".encode()).digest())


def _unsigned(signer: TimestampSigner, cookie: str, max_age_s: int) -> str:
    try:
        return signer.unsign(cookie, max_age=max_age_s).decode()
    except BadSignature:
        return ""


def _cookie(request: Request, value: bytes, max_age_s: int, *, framed: bool) -> str:
    """Return the header that sets it. A Space is shown in a frame of another site, where only such a one is kept."""
    same_site: Literal["none", "lax"] = "none" if framed else "lax"
    secure = framed or request.url.scheme == "https"
    reply = Response()
    reply.set_cookie(_COOKIE, value.decode(), max_age_s, secure=secure, httponly=True, samesite=same_site)
    return reply.headers["set-cookie"]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _host_in(headers: Headers) -> str:
    host = headers.get("host", "")
    return host if host.endswith("]") else host.rsplit(":", 1)[0]
