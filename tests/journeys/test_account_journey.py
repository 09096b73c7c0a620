"""The sheet behind the top bar's person, as people meet it."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

OPEN = "Who you are, and what you have used"


def test_what_was_used_is_listed_and_leads_to_its_run(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name=OPEN).click()
    sheet = page.get_by_role("dialog")
    expect(sheet.get_by_role("heading", name="You, on this computer")).to_be_visible()
    expect(sheet).to_contain_text("Nothing has been used this month.")
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    page.get_by_role("button", name=re.compile("sample pictures", re.IGNORECASE)).click()
    expect(page.get_by_text("12 pictures", exact=True)).to_be_visible()
    page.get_by_label("Name", exact=True).fill("Counted")
    page.get_by_role("button", name="Start training").click()
    heading = page.get_by_role("heading", name="Counted")
    expect(heading).to_be_visible()
    page.get_by_role("button", name=OPEN).click()
    expect(sheet.get_by_text("Runs under way")).to_be_visible()
    sheet.get_by_role("button", name="Training").click()
    expect(sheet).to_be_hidden()
    expect(heading).to_be_visible()
    page.get_by_role("button", name="Cancel", exact=True).click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_sheet_is_accessible_and_fits_a_phone(browser: Browser, address: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name=OPEN).click()
    expect(page.get_by_text("Runs under way")).to_be_visible()
    page.wait_for_timeout(1000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    found = Axe().run(page)
    context.close()
    assert found.violations_count == 0, found.generate_report()
