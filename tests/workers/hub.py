"""A small HTTP server shaped like the Hugging Face Hub: it lists repositories and serves their files."""

import contextlib
import hashlib
import json
import time
from http.server import BaseHTTPRequestHandler

from tests.loopback import LoopbackServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(LoopbackServer):
    """Repositories by name, each with its files; what is in `gated` is refused and what is in `damaged` is bent."""

    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        self.repositories = repositories
        self.gated: set[str] = set()
        self.damaged: list[str] = []  # file names, each bent once for each time it stands here
        self.file_takes_s = 0.0
        self.served: list[str] = []
        self.tokens: set[str] = set()
        super().__init__(_handler(self))


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            hub.tokens.add(self.headers.get("Authorization", ""))
            owner, name, *rest = self.path.split("?")[0].removeprefix("/api/models").strip("/").split("/")
            repository = hub.repositories.get(f"{owner}/{name}")
            if repository is None:
                return self._send(401, b"", {"X-Error-Code": "RepoNotFound"}, body)
            gated = f"{owner}/{name}" in hub.gated
            if gated and rest[0] in ("auth-check", "resolve"):
                return self._send(403, b"", {"X-Error-Code": "GatedRepo"}, body)
            if rest[0] == "auth-check":
                return self._send(200, b"{}", {}, body)
            if rest[0] == "revision":
                return self._send(200, json.dumps(_listing(f"{owner}/{name}", repository)).encode(), {}, body)
            return self._file(repository, "/".join(rest[2:]), body)

        def _file(self, repository: dict[str, bytes], file: str, body: bool) -> None:
            content = repository[file]
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            if body:
                hub.served.append(file)
                if file in hub.damaged:
                    hub.damaged.remove(file)
                    content = content[:-1] + bytes([content[-1] ^ 1])
            self._send(200, content, headers, body)

        def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content)), "Connection": "close"}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self._write(content, hub.file_takes_s if "ETag" in headers else 0)

        def _write(self, content: bytes, takes_s: float) -> None:
            piece = len(content) // 20 + 1
            with contextlib.suppress(ConnectionError):  # the client may have been killed
                for start in range(0, len(content), piece):
                    self.wfile.write(content[start : start + piece])
                    time.sleep(takes_s / 20)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


def _listing(name: str, repository: dict[str, bytes]) -> dict[str, object]:
    return {
        "id": name,
        "sha": COMMIT,
        "siblings": [
            {"rfilename": file, "size": len(content), "blobId": "0" * 40}
            | ({"lfs": _lfs(content)} if file.endswith(".safetensors") else {})
            for file, content in repository.items()
        ],
    }


def _lfs(content: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 100}
