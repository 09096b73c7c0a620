"""The door: every request passes it, Gradio's own ones too. It lets in known people at known addresses, marks each
request with whose it is, and turns everybody else away in words."""

from collections import OrderedDict

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.pages import own_page
from app.session import owner_of
from app.sign_in import Person, SignIn
from backend.errors import Forbidden

# Nobody's things: what a page looks like, whether the studio is up, and the way in.
_OPEN = frozenset({"/healthz", "/readyz", "/favicon.ico", "/robots.txt", "/gradio_api/startup-events"})
_OPEN_FOLDERS = ("/static/", "/assets/")
# What of Gradio the studio uses. The rest stays shut: files by path, streams, its proxy, its own history of runs.
_PAGES = frozenset({"/", "/config", "/theme.css", "/manifest.json", "/pwa_icon", "/logout", "/metrics"})
_FOLDERS = ("/api/", "/media/", "/sample/", "/svelte/", "/pwa_icon/", "/gradio_api/run/", "/gradio_api/call/")
_GRADIO = frozenset(
    f"/gradio_api/{name}"
    for name in ("info", "theme.css", "app_id", "queue/join", "queue/data", "component_server", "upload",
                 "upload_progress", "cancel", "reset")
)  # fmt: skip
_METRICS = "/metrics"
_HEARTBEAT = "/gradio_api/heartbeat/"
_SESSION = "session_hash"
_SESSIONS_KEPT = 10_000


class Door:
    """Stands before the whole app."""

    def __init__(self, app: ASGIApp, sign_in: SignIn) -> None:
        self._app = app
        self._sign_in = sign_in
        # Gradio has a /login and a /login/ of its own, which would take a form of any size from anybody.
        self._open = _OPEN | sign_in.ways_in
        self._sessions: OrderedDict[str, str] = OrderedDict()  # whose each of Gradio's sessions is

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})  # nothing here speaks over one
        request = Request(scope)
        # A collector has no session; what it carries instead is checked at the route.
        by_token = scope["path"] == _METRICS and "authorization" in request.headers
        if by_token or scope["path"] in self._open or scope["path"].startswith(_OPEN_FOLDERS):
            return await self._app(scope, receive, send)
        try:
            person = self._sign_in.person(request)
            if person is None:
                return await self._ask(request)(scope, receive, send)
            scope.setdefault("state", {}).update(owner=person.owner, hub=person.hub, account=person.account)
            owner = owner_of(request)
        except Forbidden as error:
            return await _refusal(request, error)(scope, receive, send)
        if not _is_known(scope["path"]) or not self._is_own_session(request, owner):
            return await _in_json("There is nothing at this address.", 404)(scope, receive, send)
        return await self._app(scope, receive, _for(person, send))

    def _ask(self, request: Request) -> Response:
        return self._sign_in.page(request) if _is_page(request) else _in_json("Sign in first: reload the page.", 401)

    def _is_own_session(self, request: Request, owner: str) -> bool:
        """Return whether one of Gradio's sessions, if the request names one, is its owner's: first come."""
        path = request.url.path
        session = path.removeprefix(_HEARTBEAT) if path.startswith(_HEARTBEAT) else request.query_params.get(_SESSION)
        if not session:
            return True
        if self._sessions.setdefault(session, owner) != owner:
            return False
        self._sessions.move_to_end(session)
        if len(self._sessions) > _SESSIONS_KEPT:
            self._sessions.popitem(last=False)
        return True


def _is_known(path: str) -> bool:
    path = path.rstrip("/") or "/"
    return path in _PAGES or path in _GRADIO or path.startswith((*_FOLDERS, _HEARTBEAT))


def _is_page(request: Request) -> bool:
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def _refusal(request: Request, error: Forbidden) -> Response:
    return own_page("Not for you", str(error), 403, form="sign_out") if _is_page(request) else _in_json(str(error), 403)


def _in_json(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status, headers={"cache-control": "no-store"})


def _for(person: Person, send: Send) -> Send:
    """Return a `send` whose answers nobody else is shown: no cache keeps them, unless they say for how long.

    It gives a visitor seen for the first time the cookie to be known by.
    """

    async def send_for_person(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("cache-control", "private, no-store")
            if person.cookie:
                headers.append("set-cookie", person.cookie)
        await send(message)

    return send_for_person
