"""RunPod's API as a client sees it, with the SDK's unmodified worker behind it."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.workers.local.conftest import STOP_GRACE_S, WORKER_PYTHON, Endpoint, RunningMachine, eventually


def test_the_key_is_required(http: httpx.Client, training: Endpoint) -> None:
    key = http.headers["Authorization"].removeprefix("Bearer ")
    bare = http.get("/training/health", headers={"Authorization": key})
    assert bare.status_code == 200
    for wrong in ("", "Bearer", "Bearer wrong", f"Bearer {key}x", f"Basic {key}", "Bearer käse"):
        refused = http.get("/training/health", headers={b"Authorization": wrong.encode()})
        assert refused.status_code == 401, wrong
    for path in ("run", "runsync", "cancel/x", "retry/x", "purge-queue"):
        assert training.post(path, headers={"Authorization": ""}).status_code == 401


def test_a_job_runs_and_tells_its_times(training: Endpoint) -> None:
    job_id = training.run(say="grüße 🎨")
    ended = training.wait(job_id)
    assert ended["status"] == "COMPLETED"
    assert ended["output"]["echo"] == "grüße 🎨"
    assert {"id", "status", "delayTime", "executionTime", "workerId", "output"} == set(ended)
    assert 0 <= ended["executionTime"] < 5000


def test_what_is_not_there_is_said(http: httpx.Client, training: Endpoint) -> None:
    assert http.get("/nobody/health").status_code == 404
    missing = http.get("/training/status/no-such-job")
    assert missing.status_code == 404
    assert "no-such-job" in missing.json()["error"]
    job_id = training.run()
    assert http.get(f"/image_generation/status/{job_id}").status_code == 404


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "JSON"),
        (b"[]", "dict"),
        (b'{"prompt": "a"}', "input"),
        (b'{"input": {}, "policy": {"executionTimeout": 10}}', "executionTimeout"),
        (b'{"input": {}, "policy": {"ttl": "soon"}}', "ttl"),
        (b'{"input": {}, "webhook": "https://example.com"}', "webhook"),
    ],
)
def test_a_bad_request_is_refused_with_its_field(training: Endpoint, body: bytes, word: str) -> None:
    refused = training.post("run", content=body)
    assert refused.status_code == 400
    assert word in refused.json()["error"]


def test_a_body_over_the_limit_is_refused(training: Endpoint) -> None:
    body = {"input": {"say": "x" * 10 * 2**20}}
    assert training.post("run", json=body).status_code == 413
    assert training.post("runsync", json={"input": {"say": "x" * 11 * 2**20}}).status_code == 200
    assert training.post("runsync", json={"input": {"say": "x" * 20 * 2**20}}).status_code == 413


def test_a_lone_surrogate_and_nan_pass_through(training: Endpoint) -> None:
    sent = rb'{"input": {"do": "echo escaped", "say": ["\ud83d", NaN, Infinity]}}'
    assert training.post("runsync", content=sent).json()["output"] == r"['\ud83d', None, None]"
    ended = training.post("runsync", json={"input": {"do": "nan"}}).json()
    assert ended["output"]["numbers"] == [None, None, None, 1.5]


def test_runsync_gives_up_waiting_but_not_the_job(training: Endpoint) -> None:
    began = time.monotonic()
    reply = training.post("runsync?wait=1000", json={"input": {"do": "sleep", "seconds": 2}}).json()
    assert 1 <= time.monotonic() - began < 1.9
    assert reply["status"] in ("IN_QUEUE", "IN_PROGRESS")
    assert training.wait(reply["id"])["output"] == "slept"
    assert training.post("runsync?wait=5", json={"input": {}}).status_code == 400


def test_what_a_handler_raises_arrives_as_a_string(training: Endpoint) -> None:
    raised = training.wait(training.run(do="raise", say="the disk is full"))
    assert raised["status"] == "FAILED"
    assert json.loads(raised["error"])["error_message"] == "the disk is full"
    returned = training.wait(training.run(do="error", say="no such LoRA"))
    assert (returned["status"], returned["error"]) == ("FAILED", "no such LoRA")
    structured = training.wait(training.run(do="error", say={"kind": "engine"}))
    assert (structured["status"], structured["error"]) == ("FAILED", '{"kind":"engine"}')


def test_progress_is_the_output_of_a_running_job(training: Endpoint, tmp_path: Path) -> None:
    finish = tmp_path / "finish"
    reports = [{"seq": 1}, {"seq": 3, "step": 30}, {"seq": 2, "step": 20}]
    job_id = training.run(do="progress", reports=reports, until=str(finish))
    eventually(lambda: training.status(job_id).get("output") == {"seq": 3, "step": 30})
    time.sleep(0.6)
    now = training.status(job_id)
    assert (now["status"], now["output"]) == ("IN_PROGRESS", {"seq": 3, "step": 30})
    finish.touch()
    assert training.wait(job_id)["output"] == "done"


def test_a_running_job_is_cancelled_and_its_worker_lives_on(
    running: RunningMachine, training: Endpoint, tmp_path: Path
) -> None:
    worker = running.machine.worker_pids["training"]
    started, stopped = tmp_path / "started", tmp_path / "stopped"
    job_id = training.run(do="sleep", seconds=60, mark=str(started), cancelled=str(stopped))
    eventually(started.exists)
    reply = training.post(f"cancel/{job_id}")
    assert reply.json() == {"id": job_id, "status": "CANCELLED"}
    eventually(stopped.exists, timeout_s=3)
    assert training.wait(training.run(say="next"))["status"] == "COMPLETED"
    assert training.status(job_id)["status"] == "CANCELLED"
    assert running.machine.worker_pids["training"] == worker


def test_a_job_cancelled_the_moment_it_is_taken_stops_too(training: Endpoint, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    job_id = training.run(do="sleep", seconds=60, cancelled=str(stopped))
    training.wait(job_id, "IN_PROGRESS")
    training.post(f"cancel/{job_id}")
    eventually(stopped.exists, timeout_s=3)


def test_a_queued_job_is_cancelled_at_once_and_the_queue_purged(training: Endpoint) -> None:
    slow = training.run(do="sleep", seconds=60)
    training.wait(slow, "IN_PROGRESS")
    waiting = [training.run(say=number) for number in range(3)]
    assert training.post(f"cancel/{waiting[0]}").json()["status"] == "CANCELLED"
    assert training.status(waiting[0]) == {"id": waiting[0], "status": "CANCELLED"}
    health = training.http.get("/training/health").json()
    assert (health["jobs"]["inQueue"], health["jobs"]["inProgress"]) == (2, 1)
    assert health["workers"]["running"] == 1
    assert training.post("purge-queue").json() == {"removed": 2, "status": "completed"}
    assert training.status(waiting[2])["status"] == "CANCELLED"
    training.post(f"cancel/{slow}")
    assert training.post(f"cancel/{slow}").json()["status"] == "CANCELLED"


def test_a_handler_that_ignores_cancel_is_killed(running: RunningMachine, training: Endpoint, tmp_path: Path) -> None:
    worker = running.machine.worker_pids["training"]
    started = tmp_path / "started"
    job_id = training.run(do="block", seconds=60, mark=str(started))
    eventually(started.exists)
    training.post(f"cancel/{job_id}")
    assert training.wait(training.run(say="next"), timeout_s=STOP_GRACE_S + 10)["status"] == "COMPLETED"
    assert training.status(job_id)["status"] == "CANCELLED"
    assert running.machine.worker_pids["training"] != worker


def test_only_what_failed_is_retried(training: Endpoint, tmp_path: Path) -> None:
    job_id = training.run(do="raise once", raised=str(tmp_path / "raised"))
    assert training.wait(job_id)["status"] == "FAILED"
    assert training.post(f"retry/{job_id}").json() == {"id": job_id, "status": "IN_QUEUE"}
    assert training.wait(job_id)["output"] == "second time"
    refused = training.post(f"retry/{job_id}")
    assert refused.status_code == 400
    assert "COMPLETED" in refused.json()["error"]


def test_a_generator_is_streamed_piece_by_piece(streaming: Endpoint) -> None:
    job_id = streaming.run(count=5)
    pieces = []
    while True:
        reply = streaming.http.get(f"/image_generation/stream/{job_id}").json()
        pieces += [piece["output"]["number"] for piece in reply["stream"]]
        if reply["status"] == "COMPLETED" and not reply["stream"]:
            break
        time.sleep(0.05)
    assert pieces == [0, 1, 2, 3, 4]
    assert streaming.status(job_id)["output"] == [{"number": number} for number in range(5)]


def test_a_result_that_is_too_large_fails_with_a_sentence(training: Endpoint) -> None:
    ended = training.wait(training.run(do="large", bytes=21 * 2**20))
    assert ended["status"] == "FAILED"
    assert "larger than 20 MB" in ended["error"]


def test_a_result_that_is_never_sent_is_noticed(training: Endpoint) -> None:
    """The SDK drops what it can't serialise; the worker's next poll shows that it holds nothing."""
    ended = training.wait(training.run(do="unserialisable"), timeout_s=30)
    assert ended["status"] == "FAILED"
    assert "3 times" in ended["error"]


def test_a_killed_worker_loses_no_job(running: RunningMachine, training: Endpoint, tmp_path: Path) -> None:
    started = tmp_path / "started"
    job_id = training.run(do="sleep", seconds=1, mark=str(started))
    eventually(started.exists)
    os.kill(running.machine.worker_pids["training"], signal.SIGKILL)
    killed_at = time.monotonic()
    eventually(lambda: training.status(job_id)["status"] == "IN_QUEUE", timeout_s=2)
    assert time.monotonic() - killed_at < 2
    assert training.wait(job_id)["output"] == "slept"


def test_a_job_that_kills_its_workers_fails_in_the_end(training: Endpoint) -> None:
    ended = training.wait(training.run(do="kill"), timeout_s=40)
    assert ended["status"] == "FAILED"
    assert "stopped 3 times" in ended["error"]
    assert training.wait(training.run(say="next"))["status"] == "COMPLETED"


def test_time_limits_end_jobs_that_run_and_jobs_that_wait(training: Endpoint, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    running = training.run({"executionTimeout": 5000}, do="sleep", seconds=60, cancelled=str(stopped))
    waiting = training.run({"ttl": 5000})
    for job_id, limit in ((waiting, "ttl of 5 s"), (running, "executionTimeout of 5 s")):
        ended = training.wait(job_id)
        assert ended["status"] == "TIMED_OUT"
        assert limit in ended["error"]
    eventually(stopped.exists, timeout_s=3)


def test_a_handler_gets_a_fresh_worker_when_it_asks(training: Endpoint) -> None:
    before = training.wait(training.run(do="refresh"))["output"]["pid"]
    after = training.wait(training.run(do="environment"))["output"]["pid"]
    assert before != after


def test_a_worker_knows_only_what_it_needs(running: RunningMachine, training: Endpoint) -> None:
    output = training.wait(training.run(do="environment"))["output"]
    variables = output["variables"]
    assert {"R2_ENDPOINT_URL", "R2_ACCOUNT_ID", "ATELIER_HOME", "ATELIER_VOLUME", "OMP_WAIT_POLICY"} <= set(variables)
    key = running.machine.environment["RUNPOD_API_KEY"]
    assert key not in variables.values()
    home = Path(variables["HOME"])
    assert home.is_relative_to(variables["ATELIER_HOME"])
    assert not list(home.iterdir())
    assert Path(output["folder"]).parent == home.parent
    log = Path(variables["ATELIER_HOME"], "logs", "training.log").read_text()
    assert key not in log
    assert "token=***" in log or "token=" not in log


def test_the_unmodified_sdk_client_is_served(running: RunningMachine) -> None:
    environment = running.machine.environment
    script = Path(__file__).with_name("sdk_client.py")
    done = subprocess.run(
        [WORKER_PYTHON, str(script), environment["RUNPOD_API_KEY"]],
        env={"PATH": os.environ["PATH"], "RUNPOD_ENDPOINT_BASE_URL": environment["RUNPOD_BASE_URL"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "run": ["COMPLETED", "one"],
        "run_sync": "two",
        "failed": ["FAILED", None],
        "cancelled": "CANCELLED",
        "stream": [0, 1, 2],
        "purged": "completed",
        "ready": 1,
    }
