"""The studio is told to stop while somebody sends it something: that is finished first, and nothing is left over."""

import signal
import subprocess
import time
from pathlib import Path

import httpx
import psutil

from tests.served import ServedStudio


def test_what_is_under_way_is_finished_and_every_process_ends(tmp_path: Path, sample_pictures: list[Path]) -> None:
    served = ServedStudio({"ATELIER_HOME": str(tmp_path), "ATELIER_LOG": "json"}, stderr=subprocess.PIPE, text=True)
    served.start()
    studio = served.process
    with httpx.Client(base_url=served.url, timeout=30) as client:
        dataset = client.post("/api/datasets", json={"name": "Late"}).json()["dataset_id"]
        children = psutil.Process(studio.pid).children(recursive=True)
        picture = sample_pictures[0].read_bytes()

        def slowly():  # type: ignore[no-untyped-def]  # a generator of bytes
            yield picture[:1000]
            time.sleep(1)  # else it may be told to stop before it has heard that something comes
            for _ in range(2):  # some hosts say it twice
                studio.send_signal(signal.SIGTERM)
                time.sleep(1)
            yield picture[1000:]

        reply = client.post(f"/api/datasets/{dataset}/files?name=late.png", content=slowly())
    assert (reply.status_code, reply.json().get("added")) == (200, 1), reply.text
    _, said = studio.communicate(timeout=40)
    assert studio.returncode == 0, said
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert "Traceback" not in said
