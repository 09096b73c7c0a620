"""A small HTTP server shaped like RunPod's documented REST API v2: volumes, templates, Serverless endpoints, GPU types.

Like the real one it refuses unknown fields, wraps its lists, answers problems as RFC 9457, copies a template into an
endpoint when that is made, and is asked about jobs at another address.
"""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from tests.loopback import LoopbackServer

KEY = "rpa_the-key-of-this-test"
_CONTAINER = {"args", "disk", "env", "image", "ports", "registry"}
_CREATES = {
    "network-volumes": {"name", "size", "dataCenter", "type"},
    "templates": _CONTAINER | {"name", "allowedCudaVersions", "category", "mounts", "public", "serverless",
                               "startJupyter", "startSsh"},
    "serverless": _CONTAINER | {"name", "type", "gpu", "scaling", "cpu", "dataCenterIds", "flashboot",
                                "networkVolumes", "templateId", "timeout", "workers"},
}  # fmt: skip
_UPDATES = {
    "network-volumes": {"name", "size"},
    "templates": _CREATES["templates"],
    "serverless": _CREATES["serverless"] - {"type"},
}
_LISTS = {"network-volumes": "networkVolumes", "templates": "templates", "serverless": "endpoints"}


class Failure(NamedTuple):
    """What is answered instead, once: to a method at a path; status 0 hangs up without a word."""

    method: str
    path: str
    status: int
    detail: str = ""
    after_doing: bool = False


class RunPodApi(LoopbackServer):
    """An account with nothing in it; `key` is the only one that is known."""

    def __init__(self) -> None:
        self.things: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _LISTS}
        self.changes: list[tuple[str, str, dict[str, Any]]] = []  # method, path, body of all that were obeyed
        self.failures: list[Failure] = []
        self.gpus = [
            gpu("NVIDIA GeForce RTX 4090", "ADA_24", 24, "EU-RO-1"),
            gpu("NVIDIA A40", "AMPERE_48", 48, "EU-RO-1"),
            gpu("NVIDIA L40S", "ADA_48_PRO", 48, "US-TX-3"),
            gpu("NVIDIA RTX A4000", "AMPERE_16", 16, "EU-RO-1"),
        ]
        super().__init__(_handler(self))

    @property
    def address(self) -> str:
        return f"{self.endpoint}/v2"

    def named(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = [thing for thing in self.things[kind].values() if thing["name"] == name]
        return found


def gpu(name: str, pool: str, memory: int, place: str) -> dict[str, Any]:
    places = [{"id": place, "name": place, "availability": "LOW"}]
    return {"id": name, "name": name, "pool": pool, "manufacturer": "NVIDIA", "memory": memory, "dataCenters": places}


def _handler(api: RunPodApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_PATCH(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: dict[str, Any] | None) -> None:
            path = self.path.partition("?")[0].removeprefix("/v2/")
            failure = next((each for each in api.failures if (each.method, each.path) == (self.command, path)), None)
            if failure:
                api.failures.remove(failure)
                if failure.after_doing and body is not None:
                    self._do(path, body)
                return self._problem(failure.status, failure.detail) if failure.status else self.connection.close()
            if self.headers["Authorization"] != f"Bearer {KEY}":
                return self._problem(401, "invalid bearer token")
            if path == "catalog/gpus":
                return self._send(200, {"gpus": api.gpus})
            if body is None:
                return self._send(200, {_LISTS[path]: list(api.things[path].values())})
            return self._send(*self._do(path, body))

        def _do(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            kind, _, thing_id = path.partition("/")
            known = (_UPDATES if thing_id else _CREATES)[kind]
            if unknown := sorted(body.keys() - known):
                return 422, _problem(422, "validation failed", f"$: additional properties '{unknown[0]}' not allowed")
            api.changes.append((self.command, path, body))
            there = api.things[kind]
            if thing_id:
                there[thing_id] |= body
                return 200, there[thing_id]
            if kind == "templates" and any(each["name"] == body["name"] for each in there.values()):
                return 400, _problem(400, "Template name must be unique.")
            if kind == "serverless":
                template = api.things["templates"][body.pop("templateId")]
                body = {name: template[name] for name in ("image", "disk", "env")} | body
            made = body | {"id": f"{kind[0]}{len(there) + 1}"}
            there[made["id"]] = made
            return 201, made

        def _problem(self, status: int, detail: str) -> None:
            self._send(status, _problem(status, detail))

        def _send(self, status: int, reply: dict[str, Any]) -> None:
            body = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    return Handler


def _problem(status: int, detail: str, *errors: str) -> dict[str, Any]:
    return {"title": "Problem", "status": status, "detail": detail, "errors": list(errors)}
