"""Grids as a person uses them: say what to compare, see it fill, come back by its link, keep the sheet, delete it."""

import io
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

LONG = 120_000  # milliseconds for four pictures


def draw(page: Page, address: str) -> None:
    """Fill the form for two seeds by two numbers of steps, and start."""
    page.goto(f"{address}/?tab=generate")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_label("Prompt of all cells").fill("an apple on a blue background")
    page.get_by_label("Columns vary").select_option("seed")
    page.get_by_label("Values of the columns").fill("7, 8")
    page.get_by_label("Rows vary").select_option("steps")
    page.get_by_label("Values of the rows").fill("2–3")
    expect(page.get_by_text("2 × 2: 4 pictures to draw")).to_be_visible()
    page.get_by_role("button", name="Draw the grid").click()
    expect(page.get_by_role("columnheader", name="Seed 8")).to_be_visible()


def test_a_grid_fills_lasts_and_goes(page: Page, address: str, tmp_path: Path) -> None:
    draw(page, address)
    cells = page.locator(".grid-view td img")
    expect(page.get_by_text("4 of 4 drawn")).to_be_visible(timeout=LONG)
    link = page.url
    assert "grid=" in link

    page.goto(f"{address}/?tab=gallery")
    expect(page.locator(".gallery-wall .tiles img")).to_have_count(4)
    page.goto(link)
    expect(cells).to_have_count(4)
    expect(page.get_by_role("rowheader")).to_have_text(["Steps 2", "Steps 3"])

    page.get_by_role("button", name="Open: Seed 8, Steps 2").click()
    view = page.get_by_role("dialog", name="Picture")
    expect(view.get_by_text("an apple on a blue background")).to_be_visible()
    page.keyboard.press("Escape")

    with page.expect_download() as saved:
        page.get_by_role("link", name="Download sheet").click()
    saved.value.save_as(tmp_path / "sheet.png")
    sheet = Image.open(io.BytesIO((tmp_path / "sheet.png").read_bytes()))
    assert sheet.format == "PNG"
    assert min(sheet.size) > 2 * 128

    page.get_by_role("button", name="All grids").click()
    page.get_by_role("button", name="an apple on a blue background").click()
    expect(cells).to_have_count(4)
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", name="See the difference")).to_be_visible()
    page.goto(link)
    expect(page.get_by_text("This grid no longer exists.")).to_be_visible()


def test_a_mistake_is_named_before_anything_is_drawn(page: Page, address: str) -> None:
    page.goto(f"{address}/?grid=new")
    page.get_by_label("Prompt of all cells").fill("an apple")
    page.get_by_label("Columns vary").select_option("strength")
    expect(page.get_by_text("The axis “Strength” needs a LoRA")).to_be_visible()
    page.get_by_label("Columns vary").select_option("steps")
    page.get_by_label("Values of the columns").fill("4, 200")
    expect(page.get_by_text("The axis “Steps”: 200 is too much; the most is 150.")).to_be_visible()


def test_three_things_vary_and_what_was_cancelled_is_drawn_later(page: Page, address: str, toy: Path) -> None:
    taken = page.request.post(f"{address}/api/loras/files?name={toy.name}", data=toy.read_bytes())
    assert taken.ok
    page.goto(f"{address}/?grid=new")
    page.get_by_label("Prompt of all cells").fill("an apple")
    page.get_by_label("Columns vary").select_option("lora")
    page.get_by_role("group", name="LoRAs to compare").get_by_label("Toy robot").check()
    page.get_by_label("Rows vary").select_option("steps")
    page.get_by_label("Values of the rows").fill("2–3")
    page.get_by_label("Sheets vary").select_option("strength")
    page.get_by_label("Values of the sheets").fill("1, 2")
    # Without a LoRA there is no strength: those cells are drawn once for both sheets.
    expect(page.get_by_text("2 × 2 × 2: 6 pictures to draw (2 repeats are shared)")).to_be_visible()
    page.get_by_role("button", name="Draw the grid").click()
    cells = page.locator(".grid-view td img")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_role("button", name=re.compile(r"Retry \d cells?"))).to_be_visible()
    page.get_by_role("button", name="Strength 2").click()
    expect(page.locator(".grid-view .cell.going")).to_have_count(0, timeout=LONG)
    last = page.locator(".grid-view td > *").last
    expect(last).to_contain_text("Cancelled")
    last.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("button", name="Open: Toy robot, Steps 3, Strength 2")).to_be_visible(timeout=LONG)
    if page.get_by_role("button", name=re.compile("Retry .* cell")).count():
        page.get_by_role("button", name=re.compile("Retry .* cell")).click()
    expect(page.get_by_text("6 of 6 drawn")).to_be_visible(timeout=LONG)
    expect(page.get_by_role("columnheader")).to_have_text(["No LoRA", "Toy robot"])

    # The picture view says what sets a cell apart, and goes up and down in the sheet as well.
    page.get_by_role("button", name="Open: Toy robot, Steps 3, Strength 2").click()
    view = page.get_by_role("dialog", name="Picture")
    expect(view.get_by_text("Toy robot · Steps 3 · Strength 2")).to_be_visible()
    page.keyboard.press("ArrowUp")
    expect(view.get_by_text("Toy robot · Steps 2 · Strength 2")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(view.get_by_text("No LoRA · Steps 2 · Strength 2")).to_be_visible()
    page.keyboard.press("Escape")
    expect(cells).to_have_count(4)

    page.reload()
    page.get_by_role("button", name="Reuse settings").click()
    expect(page.get_by_label("Values of the rows")).to_have_value("2–3")
    expect(page.get_by_label("Toy robot", exact=True)).to_be_checked()
    expect(page.get_by_text("2 × 2 × 2: 6 pictures to draw")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_is_accessible(browser: Browser, address: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{address}/?grid=new")
    expect(page.get_by_label("Prompt of all cells")).to_be_visible()
    states = {
        "the form": lambda: None,
        "a mistake": lambda: (
            page.get_by_label("Prompt of all cells").fill("an apple"),
            page.get_by_label("Values of the columns").fill("many"),
            expect(page.get_by_text("neither a number")).to_be_visible(),
        ),
        "a grid": lambda: (
            draw(page, address),
            expect(page.get_by_text("4 of 4 drawn")).to_be_visible(timeout=LONG),
        ),
    }
    for state, reach in states.items():
        reach()
        page.wait_for_timeout(900)  # what comes after the first paint, transitions too
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, state
        found = Axe().run(page)
        assert found.violations_count == 0, f"{state}: {found.generate_report()}"
    context.close()
