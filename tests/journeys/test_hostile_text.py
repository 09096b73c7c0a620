"""Text that means harm, or just goes on and on, in every place where people's words are shown, in a real browser; and
somebody else in front of the same addresses, who is to see none of it."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from app.session import LOCAL_OWNER
from backend.contract import LoraLabel, LoraRecord, Sample, new_id
from backend.datasets.intake import Upload
from backend.grids.plan import Axis
from backend.grids.record import GridCell, GridRecord
from backend.keys import GridKeys, LoraKeys
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio
from tests.app.conftest import BASE_MODEL, Past
from tests.app.test_api import serving
from tests.conftest import object_store

MARK = "harmful"
RUNS = """<img src=x onerror="window.ran='img'"><script>window.ran=1</script>'"&amp;{{value}}${window.ran=2}"""
MARKUP = f"{MARK} {RUNS}"
LONG = "W" * 4000
RIGHT_TO_LEFT, NO_WIDTH, FAMILY = "a\u202egnp.exe\u202c", "ze\u200bro\u200dwidth\ufeff", "👩‍👩‍👧‍👦"
TEXT = f"{MARKUP} {RIGHT_TO_LEFT} {NO_WIDTH} {FAMILY}"
NAME = f"{MARK} it's ${{window.ran=3}} {{{{x}}}} {RIGHT_TO_LEFT} {FAMILY} {'W' * 30}"[:80]  # names take no <, > or "


class Place(NamedTuple):
    """Where something of the local owner's is shown."""

    address: str
    in_page: str
    words: str


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with object_store(tmp_path_factory.mktemp("hostile")) as settings:
        yield settings


@pytest.fixture(scope="module")
def places(far: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Place]]:
    studio, storage = Studio.connect(far), Storage(far)
    picture = tmp_path_factory.mktemp("picture") / "picture.png"
    Image.effect_mandelbrot((96, 96), (-2, -1.5, 1, 1.5), 20).save(picture)
    past = Past(studio, storage)

    dataset = studio.datasets.create(LOCAL_OWNER, NAME)
    studio.datasets.add(LOCAL_OWNER, dataset.id, Upload(f"{MARKUP.replace('/', '')}.png", picture))
    only = studio.datasets.get(LOCAL_OWNER, dataset.id).images[0]
    studio.datasets.set_captions(LOCAL_OWNER, dataset.id, {only.sha256: TEXT + LONG})

    run = past.training(NAME, {"sample_prompts": [TEXT, LONG]})
    samples = [Sample(step=100, prompt=prompt, key=run.sample(100, at)) for at, prompt in enumerate((TEXT, LONG))]
    for sample in samples:
        storage.loras.put(sample.key, picture.read_bytes())
    past.progress(run, seq=2, samples=samples)
    storage.loras.put(run.log, f"{TEXT}\n{LONG}".encode())

    lora = LoraKeys(LOCAL_OWNER, run.run_id)
    record = LoraRecord(
        id=run.run_id, owner=LOCAL_OWNER, name=NAME, key=lora.file("x"), sha256="a" * 64, bytes=1, run_id=run.run_id,
        base_model=BASE_MODEL, architecture="flux-tiny", trigger_word=MARKUP[:100], created_at=time.time(),
    )  # fmt: skip
    storage.loras.put(record.key, b"x")
    storage.loras.put_message(lora.record, record)
    storage.loras.put_message(lora.label, LoraLabel(note=TEXT + LONG[:3000], tags=[MARKUP[:40], LONG[:40], FAMILY]))

    drawn = [past.picture(prompt, negative_prompt=TEXT) for prompt in (LONG, TEXT)]
    for each in drawn:
        storage.outputs.put(each.key, picture.read_bytes())
        storage.outputs.put(each.thumb_key, picture.read_bytes())
    past.generation(LONG)
    past.generation(TEXT)
    cells = [GridCell(run_id=each.run_id, prompt=each.prompt, seed=1, steps=1, guidance=1, loras=[]) for each in drawn]
    grid = GridRecord(
        id=new_id(), owner=LOCAL_OWNER, title=TEXT, base_model=BASE_MODEL, width=128, height=128, places=[0, 1, 1, 0],
        axes=[Axis(kind="prompt", labels=[TEXT, LONG]), Axis(kind="lora", labels=[NAME, "No LoRA"])], cells=cells,
    )  # fmt: skip
    storage.outputs.put_message(GridKeys(LOCAL_OWNER, grid.id).record, grid)
    studio.prompt_books.save_style(LOCAL_OWNER, MARKUP[:40], MARKUP)
    yield [
        Place("?tab=train", "#tab-train select option:checked", NAME),
        Place(f"?tab=runs&run={run.run_id}", ".run-card h2", NAME),
        Place("?tab=loras", ".lora-shelf .card b", NAME),
        Place(f"?tab=loras&lora={run.run_id}", ".lora-panel thead th", TEXT),
        Place("?tab=generate", ".image-feed article", TEXT),
        Place("?tab=gallery", ".gallery-wall .tiles", ""),
        Place(f"?grid={grid.id}", ".grid-view thead th", TEXT),
    ]
    studio.close()


@pytest.fixture(scope="module")
def address(far: Settings, places: list[Place]) -> Iterator[str]:
    with serving(far) as address:
        yield address


def of(person: str, browser: Browser) -> Page:
    """A browser of somebody's own, the size of a phone: what is too wide shows there first."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, extra_http_headers={"x-person": person})
    return context.new_page()


def check(page: Page) -> None:
    """Nothing ran, and nothing is wider than the screen."""
    page.wait_for_timeout(300)
    assert page.evaluate("[window.ran ?? null, document.documentElement.scrollWidth]") == [None, 390], page.url


def test_nothing_of_it_runs_gets_lost_or_breaks_the_page(browser: Browser, address: str, places: list[Place]) -> None:
    page = of(LOCAL_OWNER, browser)
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("dialog", lambda dialog: broken.append(dialog.message))
    for path, in_page, words in places:
        page.goto(f"{address}/{path}")
        said = page.locator(in_page).filter(has_text=words.split("<")[0])
        expect(said.first).to_contain_text(words)
        check(page)
        if "run=" in path:
            expect(page).to_have_title(f"46% {NAME} · LoRA Atelier")
            page.get_by_text("Log", exact=True).click()
            expect(page.get_by_text(MARKUP).last).to_be_visible()
            check(page)
        if path == "?tab=gallery":
            page.locator(".gallery-wall .tiles button").first.click()
            expect(page.get_by_role("dialog", name="Picture")).to_contain_text(TEXT)
            check(page)
        if "grid=" in path:
            expect(page.get_by_role("columnheader").last).to_be_in_viewport()
    page.context.close()
    assert broken == []


def test_somebody_else_sees_none_of_it(browser: Browser, address: str, places: list[Place]) -> None:
    page = of("stranger", browser)
    told: list[str] = []
    page.on("response", lambda reply: told.append(reply.url) if "/api/" in reply.url and MARK in reply.text() else None)
    for path in ("?tab=gallery", *(place.address for place in places if "-" in place.address)):  # those with an id
        page.goto(f"{address}/{path}")
        page.wait_for_load_state("networkidle")
        assert MARK not in page.locator("body").inner_text(), path
        assert MARK not in page.title()
    page.context.close()
    assert told == []
