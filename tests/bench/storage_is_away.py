"""Measures what many people hear while storage takes connections and says nothing, or takes none:
python -m tests.bench.storage_is_away [people] [hold | cut]

Starts a real studio on a real S3 server behind a wire, has everybody poll as the page does, and holds or cuts the wire
for a minute. Prints, for what was asked in each stretch of time, how long people waited and what they were answered.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp

from backend.settings import Settings
from tests.conftest import object_store
from tests.served import ServedStudio, free_port
from tests.wire import Wire

PEOPLE = 200
POLL_S, GIVES_UP_S = 2.0, 30.0  # as the page does
WELL_S, AWAY_S, MENDED_S = 15, 60, 45
STRETCH_S = 5


class Asked(NamedTuple):
    at: float  # seconds since the beginning
    waited: float  # seconds
    heard: str


async def person(session: aiohttp.ClientSession, began: float, number: int, heard: list[Asked]) -> None:
    """Have somebody look at their runs until it is over."""
    await asyncio.sleep(POLL_S * number / PEOPLE)
    while (at := time.monotonic() - began) < WELL_S + AWAY_S + MENDED_S:
        try:
            async with session.get("/api/runs", timeout=aiohttp.ClientTimeout(total=GIVES_UP_S)) as reply:
                await reply.read()
                answer = str(reply.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            answer = type(error).__name__
        waited = time.monotonic() - began - at
        heard.append(Asked(at, waited, answer))
        await asyncio.sleep(max(0.0, POLL_S - waited))


async def measure(url: str, wire: Wire, people: int, how: str) -> list[Asked]:
    """Return what everybody heard."""
    heard: list[Asked] = []
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.monotonic()
        everybody = asyncio.gather(*(person(session, began, number, heard) for number in range(people)))
        await asyncio.sleep(WELL_S)
        (wire.cut if how == "cut" else wire.hold)()
        await asyncio.sleep(AWAY_S)
        (wire.mend if how == "cut" else wire.release)()
        await everybody
    return heard


def studio_on(far: Settings, wire: Wire, folder: Path) -> ServedStudio:
    nobody = f"http://127.0.0.1:{free_port()}"
    return ServedStudio(
        {
            "ATELIER_HOME": str(folder / "home"),
            "R2_ENDPOINT_URL": f"http://127.0.0.1:{wire.port}",
            "R2_ACCESS_KEY_ID": far.r2_access_key_id,
            "R2_SECRET_ACCESS_KEY": far.r2_secret_access_key.get_secret_value(),
            "R2_LORA_BUCKET": far.r2_lora_bucket,
            "R2_OUTPUT_BUCKET": far.r2_output_bucket,
            "RUNPOD_API_KEY": "unused-by-this",
            "RUNPOD_BASE_URL": nobody,
            "RUNPOD_TRAINING_ENDPOINT_ID": "training",
            "RUNPOD_IMAGE_GENERATION_ENDPOINT_ID": "images",
        }
    )


def main() -> None:
    people = int(sys.argv[1]) if len(sys.argv) > 1 else PEOPLE
    how = sys.argv[2] if len(sys.argv) > 2 else "hold"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, object_store(Path(folder)) as far:
        port = urlsplit(far.r2_endpoint_url).port
        assert port
        wire = Wire(port)
        with studio_on(far, wire, Path(folder)) as studio:
            heard = asyncio.run(measure(studio.url, wire, people, how))
    print(f"{people} people; {how} from {WELL_S} s to {WELL_S + AWAY_S} s")
    for start in range(0, WELL_S + AWAY_S + MENDED_S, STRETCH_S):
        asked = [each for each in heard if start <= each.at < start + STRETCH_S]
        if asked:
            waits = sorted(each.waited for each in asked)
            p50, p95 = (waits[int(len(waits) * share)] for share in (0.5, 0.95))
            answers = dict(Counter(each.heard for each in asked))
            print(f"  asked at {start:3} s: {len(asked):4}   p50 {p50:5.2f}   p95 {p95:5.2f} s   {answers}")


if __name__ == "__main__":
    main()
