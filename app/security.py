"""The headers every answer carries: what a browser may load into the page, and who may put the page into a frame."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.media import is_loopback


class SecurityHeaders:
    """Adds the headers to every answer that doesn't bring stricter ones of its own."""

    def __init__(self, app: ASGIApp, storage_endpoint: str) -> None:
        self._app = app
        # Where pictures come from in the cloud; on one computer they come through the app.
        storage = "" if is_loopback(storage_endpoint) else f" {storage_endpoint}"
        policy = {
            "default-src": "'self'",
            # Gradio puts its configuration into the page as a script, and compiles the templates of widgets.
            "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
            "style-src": "'self' 'unsafe-inline'",
            "img-src": f"'self' data: blob:{storage}",
            "font-src": "'self' data:",
            "connect-src": f"'self'{storage}",
            "worker-src": "'self' blob:",
            "object-src": "'none'",
            "base-uri": "'self'",
            "form-action": "'self'",
            "frame-ancestors": "'self' https://huggingface.co",
        }
        self._headers = {
            "content-security-policy": "; ".join(f"{name} {sources}" for name, sources in policy.items()),
            "x-content-type-options": "nosniff",
            # A picture's address says what it was made from; other sites need not know.
            "referrer-policy": "same-origin",
            "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
