"""The studio is told to stop while somebody sends it something: that is finished first, and nothing is left over."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil


def test_what_is_under_way_is_finished_and_every_process_ends(tmp_path: Path, sample_pictures: list[Path]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app", "serve", "--no-open", "--port", str(port)]
    environment = os.environ | {"ATELIER_HOME": str(tmp_path), "ATELIER_LOG": "json"}
    studio = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        answers_by = time.monotonic() + 90
        while True:
            try:
                assert client.get("/healthz").is_success
                break
            except httpx.TransportError:
                assert time.monotonic() < answers_by, "the studio did not start within 90 s"
                time.sleep(0.3)
        dataset = client.post("/api/datasets", json={"name": "Late"}).json()["dataset_id"]
        children = psutil.Process(studio.pid).children(recursive=True)
        picture = sample_pictures[0].read_bytes()

        def slowly():  # type: ignore[no-untyped-def]  # a generator of bytes
            yield picture[:1000]
            time.sleep(1)  # else it may be told to stop before it has heard that something comes
            studio.send_signal(signal.SIGTERM)
            time.sleep(2)
            yield picture[1000:]

        reply = client.post(f"/api/datasets/{dataset}/files?name=late.png", content=slowly())
    assert (reply.status_code, reply.json().get("added")) == (200, 1), reply.text
    _, said = studio.communicate(timeout=40)
    assert studio.returncode == 0, said
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert "Traceback" not in said
