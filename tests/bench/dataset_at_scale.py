"""How taking photographs in, a dataset's check-up and its page compare with bare tools, and with what they may take.

    python -m tests.bench.dataset_at_scale [photographs [megapixels]]      500 of 12 if not said otherwise

The photographs are JPEGs with detail of every size, made here and kept in the system's temporary folder for the next
time. Ingest goes by HTTP through a studio's own route, four files at a time as the page sends them; its peer is a bare
Pillow loop over the same files in as many threads as the studio decodes in, which decodes and does nothing else. The
page is shown 1,000 pictures; its peer is a bare HTML page with the same list, thumbnails and text areas, from the same
server to the same browser. Keys are real ones: what is measured is all that the browser's main thread does for each.
In brackets stands what each may be.
"""

import contextlib
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from backend.datasets.looks import near_copies
from tests.served import ServedStudio

AT_ONCE = 4  # as the page sends them
SHOWN = 1000  # pictures on the page
KEYS = 60
# What the least would be: the same list from the same server, and for each picture its thumbnail and a text area.
BARE_PAGE = """async id => { const from = performance.now();
  const { pictures } = await (await fetch(`/api/datasets/${id}`)).json();
  document.body.innerHTML = pictures.map(each =>
    `<figure><img loading=lazy src="${each.thumb}"><textarea>${each.caption}</textarea></figure>`).join('');
  document.body.offsetHeight; return performance.now() - from; }"""
OPEN_DATASET = """async ([id, count]) => { const from = performance.now();
  const box = document.querySelector('#chosen-dataset'); box.value = id; box.dispatchEvent(new Event('change'));
  const figures = () => document.querySelectorAll('.caption-grid figure').length;
  while (figures() < count) await new Promise(requestAnimationFrame);
  document.body.offsetHeight; return performance.now() - from; }"""
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@contextlib.contextmanager
def studio() -> Iterator[tuple[str, psutil.Process]]:
    """Run a studio of its own; yields its address and its process."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        ServedStudio({"ATELIER_HOME": home}, stdout=subprocess.DEVNULL) as served,
    ):
        yield served.url, psutil.Process(served.process.pid)


def photographs(count: int, megapixels: float) -> list[Path]:
    """Return different photographs, as far as a decoder can tell; those of last time if they are there."""
    folder = Path(tempfile.gettempdir()) / f"atelier-photographs-{megapixels:g}"
    folder.mkdir(exist_ok=True)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    size = (height * 4 // 3, height)
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    missing = [path for path in paths if not path.exists()]
    if missing:
        landscape = _landscape((size[0] + 512, size[1] + 512))
        for path in missing:
            random = np.random.default_rng(int(path.stem))
            left, top = random.integers(0, 512, 2)
            part = landscape.crop((left, top, left + size[0], top + size[1]))
            if random.integers(2):
                part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            part.save(path, quality=92)
    return paths


def _landscape(size: tuple[int, int]) -> Image.Image:
    """Return a picture with detail of every size, the finer the fainter, as photographs have it."""
    random = np.random.default_rng(1)
    levels = np.zeros((size[1], size[0], 3), np.float32)
    side = 4
    while side < size[0]:
        shape = (min(size[1], side * 3 // 4), side, 3)
        layer = Image.fromarray(random.integers(0, 255, shape, dtype=np.uint8))
        levels += np.asarray(layer.resize(size, Image.Resampling.BICUBIC), np.float32) / side**0.45
        side *= 2
    levels -= levels.min()
    return Image.fromarray((levels * (255 / levels.max())).astype(np.uint8))


def small_pictures(folder: Path, count: int) -> list[Path]:
    """Write little pictures for the page: how large they were makes no difference to it."""
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        small = Image.fromarray(random.integers(0, 255, (12, 16, 3), dtype=np.uint8))
        path = folder / f"{number:04d}.jpg"
        small.resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=85)
        paths.append(path)
    return paths


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bare_loop(paths: list[Path]) -> None:
    """Decode every file."""

    def one(path: Path) -> None:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()

    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as threads:
        list(threads.map(one, paths))


def send(http: httpx.Client, paths: list[Path]) -> str:
    """Send files to a new dataset, and return its id."""
    dataset_id: str = http.post("/api/datasets", json={"name": f"{len(paths)} pictures"}).json()["dataset_id"]

    def one(path: Path) -> None:
        address = f"/api/datasets/{dataset_id}/files?name={path.name}"
        assert http.post(address, content=path.read_bytes()).json()["added"] == 1

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(one, paths))
    return dataset_id


@contextlib.contextmanager
def most_memory(process: psutil.Process) -> Iterator[list[float]]:
    """Yield a list that ends up with the MB a process had, ten times a second."""
    seen, over = [process.memory_info().rss / 2**20], threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            seen.append(process.memory_info().rss / 2**20)

    watcher = threading.Thread(target=look)
    watcher.start()
    yield seen
    over.set()
    watcher.join()


def bench_ingest(http: httpx.Client, process: psutil.Process, paths: list[Path]) -> None:
    bare_loop(paths[:8])  # so that neither pays for reading the disk first
    bare = timed(lambda: bare_loop(paths))
    with most_memory(process) as memory:
        taken = timed(lambda: send(http, paths))
    print(f"  ingest       {taken:6.1f} s   a bare Pillow loop {bare:6.1f} s   ratio {taken / bare:4.2f} (1.3)")
    halves = max(memory[: len(memory) // 2]), max(memory[len(memory) // 2 :])
    print(f"  memory       {max(memory):6.0f} MB (600)   {halves[0]:.0f} in the first half, {halves[1]:.0f} after it")


def bench_checkup(http: httpx.Client, dataset_id: str, count: int) -> None:
    random = np.random.default_rng(1)
    prints = {str(number): random.bytes(32).hex() for number in range(count)}
    values = [int(digits, 16) for digits in prints.values()]

    def pair_by_pair() -> int:
        return sum((one ^ other).bit_count() <= 8 for i, one in enumerate(values) for other in values[:i])

    ours, peer = timed(lambda: near_copies(prints)), timed(pair_by_pair)
    print(f"  near copies  {ours * 1000:6.1f} ms  pair by pair       {peer * 1000:6.1f} ms  ratio {ours / peer:4.2f}")
    address = f"/api/datasets/{dataset_id}/checkup?base_model=tiny-flux"
    whole = statistics.median(timed(lambda: http.get(address).raise_for_status()) for _ in range(5))
    print(f"  check-up     {whole * 1000:6.1f} ms  for the whole request")


def bench_page(page: Page, http: httpx.Client, dataset_id: str) -> None:
    """Print how long the open dataset takes to show, and a key in one of its captions."""
    page.route("**/bare", lambda route: route.fulfill(content_type="text/html", body="<!doctype html><body>"))
    page.goto(f"{http.base_url}/bare")
    peer = statistics.median(page.evaluate(BARE_PAGE, dataset_id) for _ in range(3))
    page.goto(str(http.base_url))
    page.get_by_text(re.compile(rf"^{SHOWN:,} pictures$")).wait_for(timeout=60_000)
    chooser = page.get_by_label("Dataset", exact=True)
    shown = []
    for _ in range(5):
        chooser.select_option("")
        page.wait_for_timeout(500)
        shown.append(page.evaluate(OPEN_DATASET, [dataset_id, SHOWN]))
    ours = statistics.median(shown)
    print(f"  page         {ours:6.0f} ms  the bare page      {peer:6.0f} ms  ratio {ours / peer:4.2f} (300 ms)")
    page.wait_for_timeout(3000)  # what comes after: thumbnails, crops, the check-up
    page.locator(".caption-grid textarea").nth(SHOWN // 2).click()
    busy = main_thread(page, lambda: page.keyboard.type("a" * KEYS, delay=40)) - main_thread(
        page, lambda: page.wait_for_timeout(KEYS * 40)
    )
    print(f"  a key        {busy / KEYS * 1000:6.1f} ms  of the main thread, at {KEYS} real keys (16 ms)")


def main_thread(page: Page, work: Callable[[], object]) -> float:
    """Return for how many seconds the page's main thread worked meanwhile."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def busy() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))

    before = busy()
    work()
    return busy() - before


def main(count: int, megapixels: float) -> None:
    """Measure, and print each figure beside its peer or its limit."""
    paths = photographs(count, megapixels)
    with studio() as (address, process), httpx.Client(base_url=address, timeout=120) as http:
        print(f"{count:,} photographs of {megapixels:g} MP, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}")
        bench_ingest(http, process, paths)
        print(f"{SHOWN:,} pictures, load {os.getloadavg()[0]:.1f}")
        with tempfile.TemporaryDirectory() as folder:
            dataset_id = send(http, small_pictures(Path(folder), SHOWN))
        bench_checkup(http, dataset_id, SHOWN)
        with sync_playwright() as player:
            browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
            bench_page(browser.new_page(viewport={"width": 1400, "height": 875}), http, dataset_id)
            browser.close()


if __name__ == "__main__":
    given = [float(argument) for argument in sys.argv[1:]]
    main(int(given[0]) if given else 500, given[1] if len(given) > 1 else 12)
