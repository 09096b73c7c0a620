"""The Generate form as a person uses it: start pictures, words from before, seeds, shapes, styles, wildcards."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.journeys.test_browser import LONG, SHORT, open_tab


@pytest.fixture
def form(page: Page, address: str) -> Page:
    """The form with nothing on it."""
    page.goto(f"{address}/?tab=generate")
    expect(page.get_by_label("Prompt", exact=True)).to_be_visible(timeout=SHORT)
    return page


def newest(page: Page) -> Locator:
    return page.locator(".image-feed article").first


def write(page: Page, prompt: str) -> Locator:
    box = page.get_by_label("Prompt", exact=True)
    box.fill(prompt)
    return box


def generate(page: Page, pictures: int = 4) -> dict[str, Any]:
    """Press Generate, wait for the pictures, and return the run as the feed has it."""
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(newest(page)).to_have_attribute("aria-busy", "true", timeout=SHORT)
    expect(newest(page)).not_to_have_attribute("aria-busy", "true", timeout=LONG)
    expect(newest(page).locator("img")).to_have_count(pictures, timeout=SHORT)
    feed = page.evaluate("fetch('/api/generations').then(reply => reply.json())")
    run: dict[str, Any] = feed["runs"][0]
    return run


def test_a_picture_is_drawn_from_a_file_and_that_one_from_the_gallery(
    form: Page, address: str, sample_pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    slot = form.get_by_label("Start picture", exact=True)
    slot.locator("input[type=file]").set_input_files(tmp_path / "notes.png")
    expect(slot.get_by_role("alert")).to_have_text(
        "notes.png is not a picture that can be read. Save it as JPEG, PNG or WebP.", timeout=SHORT
    )
    slot.locator("input[type=file]").set_input_files(sample_pictures[0])
    expect(slot).to_contain_text("256 × 256", timeout=SHORT)
    expect(slot.locator(".refused")).to_be_empty()
    slot.get_by_label("How much is redrawn").fill("0.3")
    form.locator("#tab-generate").get_by_role("button", name="Advanced").click()
    form.get_by_role("radio", name="WebP").check(force=True)
    expect(form.get_by_role("spinbutton", name="Quality")).to_be_visible(timeout=SHORT)
    write(form, "a red robot")

    drawn = generate(form)["pictures"][0]

    assert drawn["url"].endswith(".webp")
    assert form.request.get(f"{address}{drawn['url']}").headers["content-type"] == "image/webp"
    # By way of the picture itself.
    write(form, "")
    newest(form).get_by_label("Open picture 1").click()
    view = form.get_by_role("dialog", name="Picture")
    expect(view.get_by_role("link", name="Download WebP")).to_be_visible(timeout=SHORT)
    view.get_by_role("button", name="Use as start").click()
    expect(slot).to_contain_text("128 × 128", timeout=SHORT)
    expect(form.get_by_label("Prompt", exact=True)).to_have_value("a red robot")
    slot.get_by_role("button", name="Remove the start picture").click()
    expect(slot.get_by_role("button", name="File")).to_be_focused()
    # By way of the form.
    slot.get_by_role("button", name="Gallery").click()
    slot.get_by_role("dialog").get_by_role("button", name="Start from: a red robot").first.click(timeout=SHORT)
    expect(slot).to_contain_text("128 × 128", timeout=SHORT)
    generate(form)

    # What it was started from comes back with it.
    open_tab(form, "Gallery")
    form.locator(".gallery-wall .open").first.click(timeout=SHORT)
    form.get_by_role("button", name="Reuse everything").click(timeout=SHORT)
    expect(slot).to_contain_text("Starts from this picture", timeout=SHORT)
