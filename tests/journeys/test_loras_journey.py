"""The LoRAs tab as a person meets it: a file from elsewhere becomes a card, gets a name, and makes pictures."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.journeys.test_browser import LONG, open_tab


def import_files(page: Page, *paths: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Import a file").click()
    chooser.value.set_files(paths)


def test_a_file_from_elsewhere_becomes_a_lora_that_makes_pictures(
    page: Page, address: str, toy: Path, tmp_path: Path
) -> None:
    page.goto(f"{address}/?tab=loras")
    expect(page.get_by_role("heading", name="No LoRAs yet")).to_be_visible()
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(toy.read_bytes()[:-1])
    import_files(page, toy, broken)
    expect(page.get_by_text("Toy robot imported, for Tiny FLUX.")).to_be_visible()
    expect(page.get_by_label("LoRAs that could not be imported")).to_contain_text("'broken' is damaged, cut short")

    # By keyboard: open the card, rename it, and come back to where one was.
    card = page.get_by_role("button", name="Open Toy robot")
    expect(card).to_be_visible()
    card.focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Toy robot")
    expect(panel.get_by_role("button", name="Close", exact=True)).to_be_focused()
    assert "lora=import-" in page.url
    panel.get_by_label("Name").fill("Grandma's robot")
    panel.get_by_label("Tags").fill("toy, blue")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Grandma's robot")).to_be_visible()
    page.keyboard.press("Escape")
    renamed = page.get_by_role("button", name="Open Grandma's robot")
    expect(renamed).to_be_focused()

    page.reload()
    renamed.click()
    expect(page.get_by_label("Tags")).to_have_value("toy, blue")
    page.get_by_role("button", name="Prompt with it").click()
    prompt = page.get_by_label("Prompt", exact=True)
    expect(prompt).to_have_value("t0y")
    expect(page.get_by_label("Chosen LoRAs")).to_contain_text("Grandma's robot")
    prompt.press("Control+Enter")
    made = page.locator(".image-feed article").first
    expect(made.locator("img")).to_have_count(4, timeout=LONG)
    # Its file is still called by its first name.
    expect(made).to_contain_text("Grandma's robot × 1")


def test_its_picture_becomes_its_thumbnail_and_it_can_be_deleted(page: Page, address: str, toy: Path) -> None:
    page.goto(f"{address}/?tab=loras")
    page.get_by_role("button", name="Open Grandma's robot").click()
    page.get_by_role("button", name="Picture 1, enlarge").click()
    page.get_by_role("button", name="Use as thumbnail").click()
    expect(page.locator(".lora-panel img.cover")).to_be_visible()

    # To its pictures and back, on a page whose Gallery has not been opened before.
    page.get_by_role("button", name="See all in the Gallery").click()
    tiles = page.locator(".gallery-wall .tiles img")
    expect(tiles).to_have_count(4)
    page.reload()
    expect(tiles).to_have_count(4)
    expect(page.locator(".gallery-bar .with")).to_have_class(re.compile("set"))
    page.locator(".gallery-wall .open").first.click()
    page.get_by_role("button", name="Grandma's robot").click()
    expect(page.get_by_role("dialog", name="Grandma's robot")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("The pictures made with it stay")).to_be_visible()
    page.get_by_role("dialog", name="Delete").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="No LoRAs yet")).to_be_visible()
    open_tab(page, "Gallery")
    expect(page.locator(".gallery-wall .tiles img")).to_have_count(4)


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_cards_and_panel_are_accessible(browser: Browser, address: str, toy: Path, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{address}/?tab=loras")
    import_files(page, toy)
    expect(page.get_by_role("button", name="Open Toy robot")).to_be_visible()
    page.wait_for_timeout(400)  # transitions
    cards = Axe().run(page)
    page.get_by_role("button", name="Open Toy robot").click()
    expect(page.get_by_role("button", name="Prompt with it")).to_be_visible()
    page.wait_for_timeout(400)
    panel = Axe().run(page)
    fits = page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert cards.violations_count == 0, cards.generate_report()
    assert panel.violations_count == 0, panel.generate_report()
    assert fits
