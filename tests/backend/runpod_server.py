"""A RunPod that does as a test says."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class RunPodServer:
    """RunPod with jobs whose status a test sets by hand."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, object]] = {}
        self.policies: list[dict[str, int]] = []
        self.cancelled: list[str] = []
        self.keeps: set[str] = set()  # jobs that can't be cancelled
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                *_, action, last = self.path.split("/")
                if last == "run":
                    server.policies.append(json.loads(body)["policy"])
                    job_id = f"job{len(server.jobs) + 1}"
                    server.jobs[job_id] = {"status": "IN_QUEUE"}
                    self.answer(200, {"id": job_id, "status": "IN_QUEUE"})
                elif action == "cancel" and last in server.keeps:
                    self.answer(400, {"error": "not now"})
                elif action == "cancel" and last not in server.jobs:
                    self.answer(404, {})
                elif action == "cancel":
                    server.cancelled.append(last)
                    self.answer(200, {"id": last, "status": "CANCELLED"})

            def do_GET(self) -> None:
                last = self.path.rsplit("/", 1)[-1]
                reply = {"workers": {}} if last == "health" else server.jobs.get(last)
                self.answer(200, {"id": "x", **reply}) if reply else self.answer(404, {})

            def answer(self, status: int, reply: dict[str, object]) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(reply).encode())

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
