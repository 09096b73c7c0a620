"""A small HTTP server shaped like the part of the Hugging Face Hub that repositories are made and filled through."""

import base64
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.loopback import LoopbackServer

ACCOUNT = "zoe"


class HubServer(LoopbackServer):
    """Private repositories by name, each with its files; only `token` may do anything."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.visibilities: dict[str, str] = {}
        self.broken = 0  # commits that are answered with an error
        super().__init__(_handler(self))


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self._may() and self.path == "/api/whoami-v2":
                self._send(200, {"name": ACCOUNT, "type": "user"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self._chunks()
            if not self._may():
                return None
            if self.path == "/api/repos/create":
                return self._create(json.loads(body))
            if self.path == "/api/validate-yaml":
                return self._send(200, {"errors": [], "warnings": []})
            _, _, _, owner, name, what, *_ = self.path.split("/")
            if what == "preupload":
                files = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                         for each in json.loads(body)["files"]]  # fmt: skip
                return self._send(200, {"files": files})
            return self._commit(f"{owner}/{name}", body)

        def _create(self, wish: dict[str, Any]) -> None:
            repo = f"{wish.get('organization') or ACCOUNT}/{wish['name']}"
            url = {"url": f"{hub.endpoint}/{repo}"}
            if repo in hub.repositories:
                return self._send(409, url)
            hub.repositories[repo] = {}
            hub.visibilities[repo] = wish.get("visibility") or ("private" if wish.get("private") else "public")
            return self._send(200, url)

        def _commit(self, repo: str, body: bytes) -> None:
            if hub.broken:
                hub.broken -= 1
                return self._send(400, {"error": "no room"})
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.repositories[repo][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            commit = {"commitUrl": f"{hub.endpoint}/{repo}/commit/1", "commitOid": "1", "success": True}
            return self._send(200, commit)

        def _may(self) -> bool:
            if self.headers.get("Authorization") == f"Bearer {hub.token}":
                return True
            self._send(401, {"error": "Invalid credentials"})
            return False

        def _chunks(self) -> bytes:
            parts = []
            while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            return b"".join(parts)

        def _send(self, status: int, answer: dict[str, Any]) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            for key, value in {"Content-Length": str(len(content)), "Connection": "close"}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
