"""Measures a studio under many people: python -m tests.bench.two_hundred_people [people] [seconds]

Starts a real studio with its local machine, fills it with some runs and pictures, and has everybody poll as the page
does (every two seconds, with what they know) and look around in between. Prints errors, times and memory.
"""

import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from typing import Any

import aiohttp
import httpx
import psutil

from tests.served import ServedStudio

PEOPLE, SECONDS = 200, 60.0
WARM_UP_S = 15.0
STRETCHES = 6
POLL_S = 2.0  # as the page does
PICTURES = 40
BROWSED = ("/api/gallery", "/api/gallery/summary", "/api/loras/library", "/api/datasets", "/api/usage", "/api/me", "/")
ANSWERS_S = 30.0


class Person:
    """Somebody with the page open: polls that find nothing new as a rule, and a look at something now and then."""

    def __init__(self, session: aiohttp.ClientSession, times: list[tuple[str, float]], errors: Counter[str]) -> None:
        self._session = session
        self._times = times
        self._errors = errors
        self._versions: dict[str, str] = {}

    async def stay(self, until: float) -> None:
        await asyncio.sleep(random.random() * POLL_S)
        while time.monotonic() < until:
            began = time.monotonic()
            await self._poll("/api/runs")
            await self._poll("/api/generations")
            if random.random() < 0.2:
                await self._look(random.choice(BROWSED))
            await asyncio.sleep(max(0.0, POLL_S - (time.monotonic() - began)))

    async def _poll(self, path: str) -> None:
        if body := await self._ask(path, since=self._versions.get(path, "")):
            self._versions[path] = json.loads(body)["version"]

    async def _look(self, path: str) -> None:
        body = await self._ask(path)
        if path == "/api/gallery" and body:
            for tile in random.sample(json.loads(body)["pictures"], k=4):
                await self._ask(tile["thumb"])

    async def _ask(self, path: str, **query: str) -> bytes:
        """Return what is answered, b'' for nothing new."""
        began = time.monotonic()
        try:
            async with self._session.get(path, params=query or None) as reply:
                body, status = await reply.read(), reply.status
        except (aiohttp.ClientError, TimeoutError) as error:
            self._errors[f"{path}: {type(error).__name__}"] += 1
            return b""
        kind = "/media" if path.startswith("/media") else path
        self._times.append((kind, time.monotonic() - began))
        if status >= 400:
            self._errors[f"{kind}: {status}"] += 1
            return b""
        return body


def main() -> None:
    people = int(sys.argv[1]) if len(sys.argv) > 1 else PEOPLE
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        ServedStudio({"ATELIER_HOME": folder}) as studio,
    ):
        asyncio.run(measure(studio.process.pid, studio.url, people, seconds))


async def measure(pid: int, url: str, people: int, seconds: float) -> None:
    print(f"load before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    async with httpx.AsyncClient(base_url=url, timeout=ANSWERS_S) as client:
        await fill(client)
    # A client that is slower than what it measures would measure itself: httpx takes as long as the studio does.
    connector, most = aiohttp.TCPConnector(limit=people), aiohttp.ClientTimeout(total=ANSWERS_S)
    async with aiohttp.ClientSession(url, connector=connector, timeout=most) as session:
        process = psutil.Process(pid)
        await together(session, people, WARM_UP_S)
        cpu, memory = process.cpu_times(), [process.memory_info().rss]
        times: list[tuple[str, float]] = []
        errors: Counter[str] = Counter()
        for _ in range(STRETCHES):
            more, wrong = await together(session, people, seconds / STRETCHES)
            times, errors = times + more, errors + wrong
            memory.append(process.memory_info().rss)
        used = process.cpu_times()
    told = f"{people} people for {seconds:.0f} s: {len(times):,} answers, {len(times) / seconds:.0f} a second"
    print(f"{told}, {errors.total()} errors {dict(errors) or ''}")
    for kind in ("", *sorted({kind for kind, _ in times})):
        print_times(kind or "everything", [each for path, each in times if not kind or path == kind])
    busy = (used.user - cpu.user + used.system - cpu.system) / seconds
    megabytes = " → ".join(f"{each / 2**20:.0f}" for each in memory)
    print(f"memory of the studio's process, from stretch to stretch: {megabytes} MB")
    print(f"processor: {busy:.0%} of a core")
    print(f"load after: {os.getloadavg()[0]:.2f}")


async def together(
    session: aiohttp.ClientSession, people: int, seconds: float
) -> tuple[list[tuple[str, float]], Counter[str]]:
    """Have everybody there for so long; return how long each answer took, and what went wrong."""
    times: list[tuple[str, float]] = []
    errors: Counter[str] = Counter()
    until = time.monotonic() + seconds
    await asyncio.gather(*(Person(session, times, errors).stay(until) for _ in range(people)))
    return times, errors


async def fill(client: httpx.AsyncClient) -> None:
    """Make pictures, so that there is something to look at."""
    page = (await client.get("/config")).json()
    feed = next(each["id"] for each in page["components"] if "start" in (each["props"].get("server_fns") or []))
    for number in range(PICTURES // 8):
        wishes = {
            "base_model": "tiny-flux",
            "prompt": f"a cat, {number}",
            "count": 8,
            "width": 64,
            "height": 64,
            "steps": 1,
        }
        body: dict[str, Any] = {"component_id": feed, "fn_name": "start", "data": wishes, "session_hash": "bench"}
        reply = await client.post("/gradio_api/component_server", json=body)
        reply.raise_for_status()
    deadline = time.monotonic() + 300
    while len((await client.get("/api/gallery")).json()["pictures"]) < PICTURES:
        if time.monotonic() > deadline:
            raise SystemExit("the pictures were not made within 5 minutes")
        await asyncio.sleep(1)


def print_times(kind: str, times: list[float]) -> None:
    ordered = sorted(times)
    p95, p99 = (ordered[int(len(ordered) * share)] for share in (0.95, 0.99))
    middle = statistics.median(ordered)
    told = "   ".join(f"{name} {each * 1000:6.1f} ms" for name, each in (("p50", middle), ("p95", p95), ("p99", p99)))
    print(f"  {kind:<22} {len(ordered):>6}   {told}")


if __name__ == "__main__":
    main()
