"""The worker's protocol, spoken by hand, for what the SDK does only when something is broken."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from workers.local import worker_calls
from workers.local.gateway import Gateway

KEY = "a key"


class HandWorker:
    """A worker without the SDK."""

    def __init__(self, http: httpx.AsyncClient, gateway: Gateway) -> None:
        self.http = http
        self.token = gateway.worker_calls.token
        gateway.dispatch.add_worker("training", "w")

    async def call(self, call: str, **query: str | int) -> httpx.Response:
        return await self.http.get(f"/v2/training/{call}/w", params={"token": self.token, **query})

    async def post(self, job_id: str, result: Any) -> httpx.Response:
        address = f"/v2/training/job-done/w/{job_id}"
        return await self.http.post(address, params={"token": self.token}, json=result)

    async def take(self, holds: int = 0) -> str:
        return str((await self.call("job-take", job_in_progress=holds)).json()["id"])


@pytest.fixture
def dismissed() -> list[tuple[str, str, bool]]:
    return []


@pytest.fixture
async def gateway(tmp_path: Path, dismissed: list[tuple[str, str, bool]]) -> AsyncIterator[Gateway]:
    def dismiss(worker_id: str, why: str, at_once: bool) -> None:
        dismissed.append((worker_id, why, at_once))

    gateway = Gateway(tmp_path / "queue.db", {"training": 600}, KEY, dismiss, stop_grace_s=0.2)
    await gateway.start()
    yield gateway
    await gateway.stop()


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": KEY}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def worker(http: httpx.AsyncClient, gateway: Gateway) -> HandWorker:
    return HandWorker(http, gateway)


async def run(http: httpx.AsyncClient, **job_input: Any) -> str:
    return str((await http.post("/v2/training/run", json={"input": job_input})).json()["id"])


async def status(http: httpx.AsyncClient, job_id: str) -> str:
    return str((await http.get(f"/v2/training/status/{job_id}")).json()["status"])


async def test_a_poll_is_held_and_woken(http: httpx.AsyncClient, worker: HandWorker) -> None:
    poll = asyncio.create_task(worker.call("job-take", job_in_progress=0))
    await asyncio.sleep(0.2)
    assert not poll.done()
    job_id = await run(http, steps=3)
    sent_at = time.monotonic()
    reply = await poll
    assert time.monotonic() - sent_at < 0.1
    assert reply.json() == {"id": job_id, "input": {"steps": 3}}
    assert reply.headers["connection"] == "close"
    batch = [await run(http) for _ in range(3)]
    taken = (await worker.call("job-take-batch", job_in_progress=1, batch_size=2)).json()
    assert [job["id"] for job in taken] == batch[:2]


async def test_a_poll_that_hung_up_is_given_nothing(http: httpx.AsyncClient, worker: HandWorker) -> None:
    poll = asyncio.create_task(worker.call("job-take", job_in_progress=0))
    await asyncio.sleep(0.1)
    poll.cancel()
    await asyncio.sleep(0.1)
    job_id = await run(http)
    assert await status(http, job_id) == "IN_QUEUE"
    assert await worker.take() == job_id


async def test_only_our_workers_are_heard(http: httpx.AsyncClient, worker: HandWorker) -> None:
    job_id = await run(http)
    for token in ("", "wrong", KEY):
        for call in ("job-take/w", "job-stop/w", "ping/w"):
            assert (await http.get(f"/v2/training/{call}", params={"token": token})).status_code == 401
        done = await http.post(f"/v2/training/job-done/w/{job_id}", params={"token": token}, json={"output": 1})
        assert done.status_code == 401
    stranger = await http.get("/v2/training/job-take/stranger", params={"token": worker.token})
    assert stranger.status_code == 204
    assert await status(http, job_id) == "IN_QUEUE"


async def test_a_job_missing_from_a_later_ping_is_lost(http: httpx.AsyncClient, worker: HandWorker) -> None:
    job_id = await run(http)
    await worker.take()
    await worker.call("ping")  # on its way when the job was taken
    assert await status(http, job_id) == "IN_PROGRESS"
    await worker.call("ping", job_id=f"other,{job_id}")
    assert await status(http, job_id) == "IN_PROGRESS"
    await worker.call("ping", job_id="other")
    assert await status(http, job_id) == "IN_QUEUE"


async def test_a_worker_that_asks_with_empty_hands_has_lost_its_job(
    http: httpx.AsyncClient, worker: HandWorker
) -> None:
    job_id = await run(http)
    await worker.take()
    assert await worker.take() == job_id
    await worker.post(job_id, {"output": "done"})
    assert await status(http, job_id) == "COMPLETED"


async def test_a_stop_is_told_once_and_then_enforced(
    http: httpx.AsyncClient, worker: HandWorker, dismissed: list[tuple[str, str, bool]]
) -> None:
    job_id = await run(http)
    await worker.take()
    poll = asyncio.create_task(worker.call("job-stop"))
    await http.post(f"/v2/training/cancel/{job_id}")
    assert (await poll).json() == {"jobsToStop": [job_id]}
    await worker.post("unknown", {"output": 1})
    async with asyncio.timeout(5):
        while not dismissed:  # noqa: ASYNC110 - it is told by a plain function
            await asyncio.sleep(0.05)
    assert dismissed[0][0] == "w"
    assert dismissed[0][2] is True
    await worker.post(job_id, {"output": "too late"})
    assert await status(http, job_id) == "CANCELLED"


async def test_a_draining_worker_gets_nothing_and_its_polls_end(
    http: httpx.AsyncClient, gateway: Gateway, worker: HandWorker
) -> None:
    polls = [asyncio.create_task(worker.call(call, job_in_progress=0)) for call in ("job-take", "job-stop")]
    await asyncio.sleep(0.1)
    gateway.dispatch.drain("w")
    job_id = await run(http)
    async with asyncio.timeout(worker_calls.HOLD_DRAINING_POLL_S + 1):
        assert [(await poll).status_code for poll in polls] == [204, 204]
    assert (await worker.call("job-take", job_in_progress=0)).status_code == 204
    assert await status(http, job_id) == "IN_QUEUE"


async def test_a_job_interrupted_by_the_end_of_its_worker_is_not_failed(
    http: httpx.AsyncClient, gateway: Gateway, worker: HandWorker
) -> None:
    job_id = await run(http)
    await worker.take()
    gateway.dispatch.drain("w")
    await worker.post(job_id, {"error": "interrupted"})
    gateway.dispatch.remove_worker("w", blame=False)
    assert await status(http, job_id) == "IN_QUEUE"


@pytest.mark.parametrize("body", [b"{", b"[1]", b"null"])
async def test_a_result_nobody_can_read_fails_its_job(http: httpx.AsyncClient, worker: HandWorker, body: bytes) -> None:
    job_id = await run(http)
    await worker.take()
    await http.post(f"/v2/training/job-done/w/{job_id}", params={"token": worker.token}, content=body)
    assert await status(http, job_id) == "FAILED"
