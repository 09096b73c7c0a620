"""Measures the gallery over a real S3 server: python -m tests.bench.gallery_at_scale [records]

Stores that many records (100,000 if not said), then asks for pages with an index and without, beside a plain listing.
"""

import asyncio
import random
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
from backend.keys import ImageKeys
from backend.settings import Settings
from backend.storage import Storage
from workers.local.object_store import ObjectStore

OWNER = "local"
REBUILT = 10_000
ROUNDS = 15
BATCH = 2000
WORDS = ("zorbot", "lighthouse", "fox", "harbour", "teapot", "astronaut", "mountain", "river", "night", "fog")


def main() -> None:
    if sys.argv[1:2] == ["cold"]:
        first_page_of_a_new_process(Path(sys.argv[2]), sys.argv[3])
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        asyncio.run(measure(Path(folder), count))


async def measure(folder: Path, count: int) -> None:
    store = ObjectStore(folder / "store")
    await store.start()
    settings = {name.lower(): value for name, value in store.environment.items()}
    (folder / "settings.json").write_text(Settings.model_validate(settings).model_dump_json())
    try:
        await asyncio.to_thread(measure_gallery, folder, settings, count)
    finally:
        await store.stop()


def measure_gallery(folder: Path, settings: dict[str, str], count: int) -> None:
    storage = Storage(Settings.model_validate(settings))
    first = min(count, REBUILT)
    with told(f"{first:,} records stored"):
        store_records(settings, range(first))
    gallery = Gallery(storage, folder / "small.db")
    with told("first page without an index"):
        gallery.page(OWNER)
    while not gallery.page(OWNER).whole:
        time.sleep(0.2)
    gallery.close()
    gallery = Gallery(storage, folder / "again.db")
    with told(f"index of {first:,} made from storage"):
        gallery.bring_up_to_date(OWNER)
    gallery.close()
    if count > first:
        with told(f"{count - first:,} records more stored"):
            store_records(settings, range(first, count))
        gallery = Gallery(storage, folder / "again.db")
        with told(f"index brought to {count:,}"):
            gallery.bring_up_to_date(OWNER)
        gallery.close()
    plain(storage)
    for _ in range(3):
        command = [sys.executable, "-m", "tests.bench.gallery_at_scale", "cold", str(folder), "again.db"]
        subprocess.run(command, check=True)
    pages(storage, folder / "again.db", count)


def plain(storage: Storage) -> None:
    client = storage.outputs._client
    with told("plain boto3: one LIST of 1,000"):
        client.list_objects_v2(Bucket=storage.outputs.name, Prefix=f"records/{OWNER}/")
    with told("plain boto3: the whole listing"):
        paginator = client.get_paginator("list_objects_v2")
        found = sum(
            len(page.get("Contents", []))
            for page in paginator.paginate(Bucket=storage.outputs.name, Prefix=f"records/{OWNER}/")
        )
    print(f"  {found:,} keys")


def pages(storage: Storage, index: Path, count: int) -> None:
    gallery = Gallery(storage, index)
    gallery.page(OWNER)
    time.sleep(1.5)  # the look at the newest day goes first, as when somebody has the page open
    middle = ImageKeys.of_run(OWNER, run_id(count // 2), 0).image_id
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
    storage = Storage(Settings.model_validate_json((folder / "settings.json").read_text()))
    gallery = Gallery(storage, folder / index)
    rows = gallery.page(OWNER).rows
    print(
        f"first page of a new process with an index: {1000 * (time.perf_counter() - began):.0f} ms, {len(rows)} tiles"
    )
    gallery.close()


def store_records(settings: dict[str, str], numbers: range) -> None:
    batches = [numbers[first : first + BATCH] for first in range(0, len(numbers), BATCH)]
    with ProcessPoolExecutor(3) as processes:
        list(processes.map(_store_batch, [settings] * len(batches), batches))


def _store_batch(settings: dict[str, str], numbers: range) -> None:
    storage = Storage(Settings.model_validate(settings))

    def store_one(number: int) -> None:
        record = record_of(number)
        storage.outputs.put(ImageKeys(OWNER, record.id).record, record.model_dump_json().encode())

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(store_one, numbers))


def run_id(number: int) -> str:
    """Twenty pictures an hour, back from now."""
    return f"image-{reverse_ms(NOW - number * 180)}-{number:08x}"


def record_of(number: int) -> ImageRecord:
    chance = random.Random(number)
    keys = ImageKeys.of_run(OWNER, run_id(number), 0)
    width, height = chance.choice([(1024, 1024), (832, 1216), (1216, 832)])
    lora = f"loras/local/{number % 40}/lora-{number % 40}.safetensors"
    return ImageRecord(
        id=keys.image_id, owner=OWNER, run_id=run_id(number), key=keys.image, thumb_key=keys.thumb,
        prompt=f"a picture of a {WORDS[number % 10]} by a {chance.choice(WORDS)}, number{number}x",
        base_model="flux1-dev" if number % 3 else "sdxl", loras=[LoraUse(key=lora)], width=width, height=height,
        steps=28, guidance=3.5, seed=number, created_at=created_at(run_id(number)),
    )  # fmt: skip


@contextmanager
def told(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)


NOW = round(time.time(), -5)  # the same in every process

if __name__ == "__main__":
    main()
