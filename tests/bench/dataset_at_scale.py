"""How taking pictures in, a dataset's check-up and its page compare, at 60 and 1,000 pictures, with bare tools.

    python -m tests.bench.dataset_at_scale [megapixels [pictures…]]

The pictures are JPEGs, of 1.5 megapixels if not said otherwise, made here. Ingest goes by HTTP through a studio's own
route, four files at a time as the page sends them; its peer is a bare Pillow loop over the same files in as many
threads as the studio decodes in, which decodes, makes the same thumbnail and saves nothing. The page's peer is a bare
HTML page with the same list, thumbnails and as many text areas, from the same server to the same browser.
"""

import contextlib
import io
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
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
from backend.pictures import thumbnail_of

PORT = 7919
AT_ONCE = 4  # as the page sends them
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
TYPE = """() => { const box = document.querySelector('.caption-grid textarea'), times = []; box.focus();
  for (let key = 0; key < 40; key += 1) { const from = performance.now(); box.value += 'a';
    box.dispatchEvent(new Event('input', { bubbles: true })); document.body.offsetHeight;
    times.push(performance.now() - from); }
  return times.sort((a, b) => a - b)[20]; }"""
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@contextlib.contextmanager
def studio() -> Iterator[tuple[str, psutil.Process]]:
    """Run a studio of its own; yields its address and its process."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = [sys.executable, "-m", "app", "serve", "--no-open", "--port", str(PORT)]
        process = subprocess.Popen(command, env=os.environ | {"ATELIER_HOME": home}, stdout=subprocess.DEVNULL)
        address = f"http://127.0.0.1:{PORT}"
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/healthz").is_success:
                    break
            assert time.monotonic() < deadline, "the studio did not start within 90 s"
            time.sleep(0.2)
        yield address, psutil.Process(process.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def make_pictures(folder: Path, count: int, megapixels: float) -> list[Path]:
    """Write different photographs, as far as a decoder can tell."""
    paths = []
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    for number in range(count):
        random = np.random.default_rng(number)
        small = Image.fromarray(random.integers(0, 255, (24, 32, 3), dtype=np.uint8))
        path = folder / f"{number:04d}.jpg"
        small.resize((height * 4 // 3, height), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bare_loop(paths: list[Path]) -> None:
    """Decode every file and make its thumbnail."""

    def one(path: Path) -> int:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()
            return len(thumbnail_of(image))

    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as threads:
        list(threads.map(one, paths))


def send(http: httpx.Client, dataset_id: str, paths: list[Path]) -> None:
    def one(path: Path) -> None:
        address = f"/api/datasets/{dataset_id}/files?name={path.name}"
        assert http.post(address, content=path.read_bytes()).json()["added"] == 1

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(one, paths))


def bench_ingest(http: httpx.Client, process: psutil.Process, paths: list[Path]) -> str:
    """Print what taking them in costs, and return the dataset's id."""
    bare = timed(lambda: bare_loop(paths))
    dataset_id: str = http.post("/api/datasets", json={"name": f"{len(paths)} pictures"}).json()["dataset_id"]
    taken = timed(lambda: send(http, dataset_id, paths))
    memory = process.memory_info().rss / 2**20
    print(f"  ingest       {taken:6.1f} s   a bare Pillow loop {bare:6.1f} s   ratio {taken / bare:4.2f}", end="")
    print(f"   memory of the studio {memory:.0f} MB")
    return dataset_id


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
    """Print how long the open dataset takes to show, and a key in a caption."""
    pictures = http.get(f"/api/datasets/{dataset_id}").json()["pictures"]
    page.route("**/bare", lambda route: route.fulfill(content_type="text/html", body="<!doctype html><body>"))
    page.goto(f"{http.base_url}/bare")
    peer = statistics.median(page.evaluate(BARE_PAGE, dataset_id) for _ in range(3))
    page.goto(str(http.base_url))
    page.get_by_text(re.compile(rf"^{len(pictures):,} pictures$")).wait_for(timeout=60_000)
    chooser = page.get_by_label("Dataset", exact=True)
    shown = []
    for _ in range(3):
        chooser.select_option("")
        page.wait_for_timeout(300)
        shown.append(page.evaluate(OPEN_DATASET, [dataset_id, len(pictures)]))
    key = page.evaluate(TYPE)
    ours = statistics.median(shown)
    print(f"  page         {ours:6.0f} ms  the bare page      {peer:6.0f} ms  ratio {ours / peer:4.1f}")
    print(f"  a key        {key:6.1f} ms")


def main(megapixels: float, counts: list[int]) -> None:
    """Measure at each size."""
    with studio() as (address, process), httpx.Client(base_url=address, timeout=120) as http:
        for count in counts:
            load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
            print(f"{count:,} pictures of {megapixels:g} megapixels, {load}")
            with tempfile.TemporaryDirectory() as folder:
                dataset_id = bench_ingest(http, process, make_pictures(Path(folder), count, megapixels))
            bench_checkup(http, dataset_id, count)
            with sync_playwright() as player:
                browser = player.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
                bench_page(browser.new_page(viewport={"width": 1400, "height": 875}), http, dataset_id)
                browser.close()


if __name__ == "__main__":
    given = [float(argument) for argument in sys.argv[1:]] or [1.5]
    main(given[0], [int(count) for count in given[1:]] or [60, 1000])
