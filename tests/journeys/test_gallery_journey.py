"""The gallery as a person uses it: find, favourite, reuse, drop back, select, delete; and a wall of thousands."""

import io
import json
import re
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageChops
from playwright.sync_api import Browser, Locator, Page, Route, expect

LONG = 120_000  # milliseconds for a picture
SEED = "18446744073709551557"  # more than JavaScript can count to
PIXEL = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"


@pytest.fixture
def pictures(page: Page, address: str) -> Locator:
    """The wall, with some pictures of an apple: four before any is deleted."""
    page.goto(f"{address}/?tab=gallery&q=apple")
    wall = page.locator(".gallery-wall .tile")
    expect(
        page.get_by_role("button", name=re.compile("Make your first picture|Show all pictures|Open: an apple")).first
    ).to_be_visible()
    if wall.count() < 2:
        page.goto(f"{address}/?tab=generate")
        page.get_by_label("Seed", exact=True).fill(SEED)
        prompt = page.get_by_label("Prompt", exact=True)
        prompt.fill("an apple on a blue background")
        prompt.press("Control+Enter")
        expect(page.locator(".image-feed article").first.locator("img")).to_have_count(4, timeout=LONG)
        page.goto(f"{address}/?tab=gallery&q=apple")
    # The wall looks again every ten seconds; what was made just now may come with the second look.
    expect(wall.nth(1)).to_be_visible(timeout=LONG)
    return wall


def pixels(page: Page, address: str, image_id: str) -> Image.Image:
    detail = page.request.get(f"{address}/api/gallery/{image_id}").json()
    return Image.open(io.BytesIO(page.request.get(f"{address}{detail['url']}").body())).convert("RGB")


def test_what_is_looked_for_stays_in_the_address(page: Page, pictures: Locator) -> None:
    search = page.get_by_label("Search prompts")
    expect(search).to_have_value("apple")
    page.keyboard.press("/")
    expect(search).to_be_focused()
    search.fill("no such thing")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("button", name="Show all pictures").click()
    expect(pictures.nth(3)).to_be_visible()

    # Enter opens, F marks, Escape returns to the tile; the arrows go on from there.
    pictures.first.locator(".open").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    view = page.get_by_role("dialog", name="Picture")
    expect(view.get_by_text("an apple on a blue background")).to_be_visible()
    page.keyboard.press("f")
    expect(view.get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(pictures.nth(1).locator(".open")).to_be_focused()
    page.get_by_role("button", name="Favourites").click()
    expect(pictures).to_have_count(1)
    page.reload()
    expect(pictures).to_have_count(1)


def test_a_png_that_is_dropped_back_gives_the_same_pixels(
    page: Page, address: str, pictures: Locator, tmp_path: Path
) -> None:
    image_ids = [str(pictures.nth(index).get_attribute("data-id")) for index in range(4)]
    details = [page.request.get(f"{address}/api/gallery/{image_id}").json() for image_id in image_ids]
    first = next(each for each in details if each["seed"] == SEED)
    data = page.request.get(f"{address}{first['url']}").body()

    transfer = page.evaluate_handle(
        """bytes => { const files = new DataTransfer();
          files.items.add(new File([new Uint8Array(bytes)], 'apple.png', { type: 'image/png' })); return files; }""",
        list(data),
    )
    for event in ("dragenter", "drop"):
        page.dispatch_event(".gallery-wall", event, {"dataTransfer": transfer})
    found = page.get_by_role("dialog", name="Made with LoRA Atelier")
    expect(found.get_by_text(SEED)).to_be_visible()
    assert Axe().run(page).violations_count == 0
    found.get_by_role("button", name="Use in Generate").click()

    expect(page.get_by_label("Prompt", exact=True)).to_have_value("an apple on a blue background")
    expect(page.get_by_label("Seed", exact=True)).to_have_value(SEED)
    page.get_by_role("button", name="Generate", exact=True).click()
    press = page.locator(".image-feed article").first
    expect(press).to_have_attribute("aria-busy", "true")
    expect(press).not_to_have_attribute("aria-busy", "true", timeout=LONG)  # a picture is seen forming before
    feed = page.request.get(f"{address}/api/generations").json()
    again = feed["runs"][0]["pictures"][0]["image_id"]
    assert again != first["image_id"]
    assert (
        ImageChops.difference(pixels(page, address, first["image_id"]), pixels(page, address, again)).getbbox() is None
    )


def compared(page: Page, bar: Locator) -> None:
    """Look at the two that are selected against each other, by keyboard, and come back."""
    bar.get_by_role("button", name="Compare").click()
    dialog = page.get_by_role("dialog", name="Two pictures compared")
    expect(dialog.get_by_label("How much of the first picture is seen")).to_be_focused()
    first = dialog.locator(".first")
    for key, seen in (("End", "inset(0px 0% 0px 0px)"), ("Home", "inset(0px 100% 0px 0px)")):
        page.keyboard.press(key)
        expect(first).to_have_css("clip-path", seen)
    # They are of one press, so only the seed sets them apart.
    expect(dialog.locator("tbody th")).to_have_text(["Seed"])
    seeds = dialog.locator("tbody td").all_text_contents()
    page.keyboard.press("s")
    expect(dialog.locator("tbody td")).to_have_text(seeds[::-1])
    page.keyboard.press("2")
    expect(dialog.get_by_role("button", name="Side by side")).to_have_attribute("aria-pressed", "true")
    assert Axe().run(page).violations_count == 0
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_many_are_selected_downloaded_and_deleted(page: Page, address: str, pictures: Locator) -> None:
    before = page.request.get(f"{address}/api/gallery/summary").json()["pictures"]
    # The newest may have been made again from another's settings; those behind it are of one press.
    pictures.nth(1).locator(".open").focus()
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    bar = page.get_by_role("toolbar", name="Selected pictures")
    expect(bar.get_by_text("2 selected")).to_be_visible()
    compared(page, bar)
    with page.expect_download() as saved:
        bar.get_by_role("button", name="Download ZIP").click()
    with zipfile.ZipFile(saved.value.path()) as archive:
        assert len(archive.namelist()) == 2

    bar.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete 2 pictures?")
    dialog.get_by_role("button", name="Delete 2 pictures").click()
    expect(page.get_by_text("2 pictures deleted")).to_be_visible()
    assert page.request.get(f"{address}/api/gallery/summary").json()["pictures"] == before - 2


def test_thousands_of_tiles_stay_light(page: Page, address: str) -> None:
    def serve(route: Route) -> None:
        asked = parse_qs(urlsplit(route.request.url).query)
        first = int(asked["after"][0]) + 1 if "after" in asked else 10_000
        tiles = [
            {"image_id": str(number), "thumb": PIXEL, "width": 100 + number % 60, "height": 120,
             "prompt": f"no. {number}", "favourite": number % 7 == 0} for number in range(first, first + 100)
        ]  # fmt: skip
        last = str(first + 99) if first < 14_000 else ""
        route.fulfill(
            body=json.dumps({"pictures": tiles, "after": last, "whole": True}), content_type="application/json"
        )

    page.route(re.compile(r"/api/gallery(\?.*)?$"), serve)
    page.goto(f"{address}/?tab=gallery")
    expect(page.get_by_label("Open: no. 10000")).to_be_visible()
    most = 0
    for _ in range(400):
        page.mouse.move(600, 500)
        page.mouse.wheel(0, 2500)
        page.wait_for_timeout(20)
        nodes = page.evaluate("document.querySelectorAll('*').length")
        seen = page.evaluate("+document.querySelector('.gallery-wall .tile:last-child').dataset.id")
        most = max(most, nodes)
        if seen > 12_100:
            break
    assert seen > 12_000
    assert most < 2000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_is_accessible(browser: Browser, address: str, pictures: Locator, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{address}/?tab=gallery")
    first = page.locator(".gallery-wall .tile").first
    expect(first).to_be_visible()
    states = {
        "the wall": lambda: None,
        "some selected": lambda: first.locator(".pick").check(),
        "one picture": lambda: (page.get_by_label("Select none").click(), first.locator(".open").click()),
        "nothing matches": lambda: (page.keyboard.press("Escape"), page.get_by_label("Search prompts").fill("xyzzy")),
    }
    for state, reach in states.items():
        reach()
        page.wait_for_timeout(900)  # what comes after the first paint, transitions too
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, state
        found = Axe().run(page)
        assert found.violations_count == 0, f"{state}: {found.generate_report()}"
    context.close()
