"""The studio as a person meets it: `atelier serve`, a browser, the sample pictures, a LoRA, a prompt, the gallery."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

LONG = 120_000  # milliseconds for a training or a picture


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def test_pictures_become_a_lora_and_the_lora_makes_pictures(page: Page, address: str) -> None:
    page_itself = page.goto(address)
    assert page_itself and page_itself.header_value("content-encoding") == "gzip"  # half a megabyte of text
    page.get_by_role("button", name=re.compile("sample pictures", re.IGNORECASE)).click()
    expect(page.get_by_text("12 pictures", exact=True)).to_be_visible()
    page.get_by_label("Name", exact=True).fill("Zorbot")
    page.get_by_role("spinbutton", name=re.compile("Steps")).first.fill("10")
    page.get_by_role("button", name="Start training").click()

    # The run opens by itself, and survives a reload.
    heading = page.get_by_role("heading", name="Zorbot")
    expect(heading).to_be_visible()
    page.reload()
    expect(heading).to_be_visible()
    expect(page.get_by_text("of 10")).to_be_visible(timeout=LONG)
    use = page.get_by_role("button", name="Use in Generate")
    expect(use).to_be_visible(timeout=LONG)

    use.click()
    prompt = page.get_by_label("Prompt", exact=True)
    expect(prompt).to_have_value("zorbot")
    prompt.fill("a zorbot on a blue background")
    prompt.press("Control+Enter")
    tile = page.locator(".image-feed article").first
    expect(tile).to_contain_text("a zorbot on a blue background")
    expect(tile.locator("img")).to_have_count(4, timeout=LONG)

    open_tab(page, "Gallery")
    expect(page.locator(".gallery-wall .tiles img")).to_have_count(4)
    page.reload()
    expect(page.locator(".gallery-wall .tiles img")).to_have_count(4)


def test_a_training_that_cannot_be_says_why(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_text("12 pictures", exact=True)).to_be_visible()
    page.get_by_label("Name", exact=True).fill("a/b")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_text("contains '/'; leave that character out.")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Name", exact=True)).to_have_value("a/b")


def test_a_messy_folder_becomes_a_dataset(page: Page, address: str, tmp_path: Path) -> None:
    for number in range(5):
        Image.effect_mandelbrot((96, 96), (-2, -1.5 + number / 10, 1, 1.5), 20).save(tmp_path / f"{number}.png")
    (tmp_path / "0.txt").write_text("a shape that never ends")
    (tmp_path / "bad.png").write_text("no picture")
    page.goto(address)
    page.get_by_label("Dataset", exact=True).select_option(label="New dataset…")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files(sorted(tmp_path.iterdir()))
    expect(page.get_by_text("5 pictures added, 1 caption, 1 not taken.")).to_be_visible()
    expect(page.get_by_label("Files that were not taken")).to_contain_text("bad.png")
    expect(page.get_by_text("5 pictures", exact=True)).to_be_visible()
    page.get_by_label("Caption for 3.png").fill("another one")
    expect(page.get_by_text("All changes saved")).to_be_visible()

    page.reload()
    expect(page.get_by_text("5 pictures", exact=True)).to_be_visible()
    kept = [page.get_by_label(f"Caption for {number}.png").input_value() for number in range(5)]
    assert kept == ["a shape that never ends", "", "", "another one", ""]


def test_datasets_that_could_not_be_listed_are_asked_for_again(page: Page, address: str) -> None:
    failed: list[Route] = []

    def serve(route: Route) -> None:
        if len(failed) == 2:
            route.continue_()
            return
        failed.append(route)
        route.fulfill(status=503, json={"error": "Storage is not responding."})

    page.route(re.compile("/api/datasets$"), serve)
    page.goto(address)
    expect(page.get_by_text("Storage is not responding.")).to_be_visible()
    expect(page.get_by_label("Dataset", exact=True)).not_to_have_value("")
    expect(page.get_by_text("Storage is not responding.")).to_have_count(0)


def test_every_press_of_generate_is_accounted_for(page: Page, address: str) -> None:
    page.goto(f"{address}/?tab=generate")
    prompt = page.get_by_label("Prompt", exact=True)
    for number in range(5):
        prompt.fill(f"an apple, the {number + 1}th")
        prompt.press("Control+Enter")
        expect(page.locator(".image-feed article").first).to_contain_text(f"the {number + 1}th")
    fourth = page.locator(".image-feed article", has_text="the 4th")
    fourth.get_by_role("button", name="Cancel").click()
    expect(fourth.get_by_role("button", name="Start again")).to_be_visible()

    page.reload()
    for number in (1, 2, 3, 5):
        drawn = page.locator(".image-feed article", has_text=f"the {number}th")
        expect(drawn.locator("img")).to_have_count(4, timeout=LONG)
    expect(fourth.get_by_role("button", name="Start again")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["train", "runs", "loras", "generate", "gallery"])
def test_every_tab_is_accessible_and_fits_a_phone(browser: Browser, address: str, tab: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{address}/?tab={tab}")
    expect(page.get_by_role("tab", selected=True)).to_be_visible()
    page.wait_for_timeout(1500)  # what comes after the first paint, transitions too
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    found = Axe().run(page)
    context.close()
    assert found.violations_count == 0, found.generate_report()
