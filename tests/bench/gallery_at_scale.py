"""Measures the gallery over a real S3 server: python -m tests.bench.gallery_at_scale [part] [records] [folder]

Stores that many records (100,000 if not said), then asks for pages with an index and without, beside a plain listing;
and looks how soon another app on the same bucket shows what one app did. A folder that is named keeps the records
and the index, so that the parts can be runs of their own: `store`, `rebuild` and `ask`.
"""

import asyncio
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from backend.contract import ImageRecord, LoraUse, created_at, reverse_ms
from backend.gallery.gallery import Gallery
from backend.gallery.index import Wanted
from backend.keys import ImageKeys, record_prefix
from backend.settings import Settings
from backend.storage import Storage
from workers.local.object_store import ObjectStore

OWNER = "local"
SMALL = "small"  # who has as many pictures as an index is made anew of
REBUILT = 10_000
ROUNDS = 15
BATCH = 500
STORING_S = 240.0  # then it stops, to go on from there another time
WORDS = ("zorbot", "lighthouse", "fox", "harbour", "teapot", "astronaut", "mountain", "river", "night", "fog")


def main() -> None:
    if sys.argv[1:2] == ["cold"]:
        first_page_of_a_new_process(Path(sys.argv[2]), sys.argv[3])
        return
    parts = {"store": store_all, "rebuild": rebuild, "ask": ask}
    part = parts.get(sys.argv[1]) if len(sys.argv) > 1 else None
    count, *named = sys.argv[2 if part else 1 :] or ["100000"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as passing:
        folder = Path(named[0] if named else passing)
        folder.mkdir(exist_ok=True)
        asyncio.run(with_store(folder, int(count), part or measure))


async def with_store(folder: Path, count: int, work: Callable[[Path, Settings, int], None]) -> None:
    store = ObjectStore(folder / "store")
    await store.start()
    os.environ.update(store.environment)  # for the new processes, too
    try:
        await asyncio.to_thread(work, folder, Settings(), count)
    finally:
        await store.stop()


def measure(folder: Path, settings: Settings, count: int) -> None:
    for part in (store_all, rebuild, ask):
        part(folder, settings, count)


def rebuild(folder: Path, settings: Settings, count: int) -> None:
    storage = Storage(settings)
    for index in folder.glob("*.db*"):
        index.unlink()
    gallery = Gallery(storage, folder / "first.db")
    with told("first page without an index"):
        gallery.page(SMALL)
    gallery.close()
    gallery = Gallery(storage, folder / "gallery.db")
    with told(f"index of {min(count, REBUILT):,} made from storage"):
        gallery.bring_up_to_date(SMALL)
    with told(f"index of {count:,} made from storage"):
        gallery.bring_up_to_date(OWNER)
    gallery.close()


def ask(folder: Path, settings: Settings, count: int) -> None:
    storage = Storage(settings)
    gallery = Gallery(storage, folder / "gallery.db")
    with told(f"{count:,} looked through again"):
        gallery.bring_up_to_date(OWNER)
    gallery.close()
    plain(storage)
    for _ in range(3):
        command = [sys.executable, "-m", "tests.bench.gallery_at_scale", "cold", str(folder), "gallery.db"]
        subprocess.run(command, check=True)
    pages(storage, folder, count)
    another_app(storage, folder, count)


def plain(storage: Storage) -> None:
    client = storage.outputs._client
    with told("plain boto3: one LIST of 1,000"):
        client.list_objects_v2(Bucket=storage.outputs.name, Prefix=record_prefix(OWNER))
    with told("plain boto3: the whole listing"):
        paginator = client.get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=storage.outputs.name, Prefix=record_prefix(OWNER))
        found = sum(len(page.get("Contents", [])) for page in pages)
    print(f"  {found:,} keys")


def pages(storage: Storage, folder: Path, count: int) -> None:
    index, now = folder / "gallery.db", now_of(folder)
    gallery = Gallery(storage, index)
    gallery.page(OWNER)
    time.sleep(1.5)  # the look at the newest day goes first, as when somebody has the page open
    middle = ImageKeys.of_run(OWNER, run_id(now, count // 2), 0).image_id
    asked: dict[str, Callable[[], object]] = {
        "first page, warm": lambda: gallery.page(OWNER),
        "page in the middle": lambda: gallery.page(OWNER, after=middle),
        "word in every tenth prompt": lambda: gallery.page(OWNER, Wanted(words="zorbot")),
        "word in every prompt": lambda: gallery.page(OWNER, Wanted(words="picture")),
        "one picture by its number": lambda: gallery.page(OWNER, Wanted(words=f"number{count // 3}x")),
        "word, LoRA and shape": lambda: gallery.page(
            OWNER, Wanted(words="fox", lora="loras/local/7/lora-7.safetensors", shape="portrait")
        ),
        "counts for the filters": lambda: gallery.summary(OWNER, Wanted(words="zorbot")),
    }
    for name, ask in asked.items():
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            ask()
            times.append(time.perf_counter() - began)
        print(f"{name}: median {1000 * statistics.median(times):.0f} ms, worst {1000 * max(times):.0f} ms", flush=True)
    print(f"index: {index.stat().st_size / 2**20:.0f} MB")
    gallery.close()


def first_page_of_a_new_process(folder: Path, index: str) -> None:
    began = time.perf_counter()
    storage = Storage(Settings())
    gallery = Gallery(storage, folder / index)
    rows = gallery.page(OWNER).rows
    print(
        f"first page of a new process with an index: {1000 * (time.perf_counter() - began):.0f} ms, {len(rows)} tiles"
    )
    gallery.close()


def another_app(storage: Storage, folder: Path, count: int) -> None:
    """Tell how soon an app with an index of its own shows what one app did, asked as often as its page asks."""
    now = now_of(folder)
    shutil.copy(folder / "gallery.db", folder / "other.db")
    one, other = Gallery(storage, folder / "gallery.db"), Gallery(storage, folder / "other.db")
    newest, middle = (ImageKeys.of_run(OWNER, run_id(now, number), 0).image_id for number in (0, count // 2))

    def shown(image_id: str) -> bool:
        before = str(int(image_id[:13]) - 1).zfill(13)
        return any(row.image_id == image_id for row in other.page(OWNER, after=f"{before}-00000000-0").rows)

    def seen(what: str, right: Callable[[], bool]) -> None:
        began = time.monotonic()
        while not right():
            other.page(OWNER)
            time.sleep(1)
        print(f"the other app shows {what} after {time.monotonic() - began:.1f} s", flush=True)

    one.set_favourite(OWNER, [middle], True)
    seen("a favourite", lambda: [row.image_id for row in other.page(OWNER, Wanted(favourites=True)).rows] == [middle])
    one.delete(OWNER, [middle, newest])
    seen("that two pictures were deleted", lambda: not shown(middle) and not shown(newest))
    for number in (0, count // 2):
        put_record(storage, OWNER, now, number)
    seen("a new picture", lambda: shown(newest))
    one.close()
    other.close()


# ---------------------------------------------------------------- the records


def store_all(folder: Path, settings: Settings, count: int) -> None:
    now, began = now_of(folder), time.monotonic()
    for owner, wanted in ((SMALL, min(count, REBUILT)), (OWNER, count)):
        there = sum(1 for _ in Storage(settings).outputs.list_all(record_prefix(owner)))
        batches = [range(first, min(first + BATCH, wanted)) for first in range(there - there % BATCH, wanted, BATCH)]
        with ProcessPoolExecutor(2) as processes, told(f"{wanted:,} records of {owner}, {there:,} of them from before"):
            for batch in batches:
                if time.monotonic() - began > STORING_S:
                    raise SystemExit("Not all are stored yet: run it again, it goes on from here.")
                half = len(batch) // 2
                list(processes.map(_store_batch, [settings] * 2, [owner] * 2, [now] * 2, [batch[:half], batch[half:]]))


def _store_batch(settings: Settings, owner: str, now: float, numbers: range) -> None:
    storage = Storage(settings)
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda number: put_record(storage, owner, now, number), numbers))


def put_record(storage: Storage, owner: str, now: float, number: int) -> None:
    record = record_of(owner, now, number)
    storage.outputs.put(ImageKeys(owner, record.id).record, record.model_dump_json().encode())


def now_of(folder: Path) -> float:
    """Return the moment of the newest picture: that of the folder's first run."""
    path = folder / "now.txt"
    if not path.exists():
        path.write_text(f"{time.time():.0f}")
    return float(path.read_text())


def run_id(now: float, number: int) -> str:
    """Twenty pictures an hour, back from now."""
    return f"image-{reverse_ms(now - number * 180)}-{number:08x}"


def record_of(owner: str, now: float, number: int) -> ImageRecord:
    chance = random.Random(number)
    run = run_id(now, number)
    keys = ImageKeys.of_run(owner, run, 0)
    width, height = chance.choice([(1024, 1024), (832, 1216), (1216, 832)])
    lora = f"loras/local/{number % 40}/lora-{number % 40}.safetensors"
    return ImageRecord(
        id=keys.image_id, owner=owner, run_id=run, key=keys.image, thumb_key=keys.thumb,
        prompt=f"a picture of a {WORDS[number % 10]} by a {chance.choice(WORDS)}, number{number}x",
        base_model="flux1-dev" if number % 3 else "sdxl", loras=[LoraUse(key=lora)], width=width, height=height,
        steps=28, guidance=3.5, seed=number, created_at=created_at(run),
    )  # fmt: skip


@contextmanager
def told(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)


if __name__ == "__main__":
    main()
