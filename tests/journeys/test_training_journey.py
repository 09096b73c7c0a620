"""From a messy folder to a LoRA, as a person goes: sent, looked over, trained, stopped, gone on with, put away."""

import io
import json
import re
from pathlib import Path

import numpy
import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.journeys.test_browser import LONG, SHORT

FILES = re.compile(r"/api/datasets/[^/]+/files")


def photograph(number: int) -> Image.Image:
    """A picture like no other of these, with edges in it."""
    random = numpy.random.default_rng(number)
    small = Image.fromarray(random.integers(0, 255, (12, 16, 3), dtype=numpy.uint8))
    return small.resize((192, 144), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def mess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 files: 42 pictures in six formats, 3 copies, 9 that can't be taken, captions, and what systems leave."""
    folder = tmp_path_factory.mktemp("somewhere") / "Holiday"
    folder.mkdir()
    formats = ("jpg", "png", "webp", "heic", "bmp", "tiff")
    for number in range(42):
        file = folder / f"{number:02d}.{formats[number % 6]}"
        if file.suffix == ".heic":
            pillow_heif.from_pillow(photograph(number)).save(file, quality=80)
        else:
            photograph(number).save(file)
    for number in range(3):
        (folder / f"copy of {number}.jpg").write_bytes((folder / f"{6 * number:02d}.jpg").read_bytes())
    (folder / "00.txt").write_text("noise, the first")
    (folder / "01.txt").write_text("noise, the second")
    (folder / "captions.jsonl").write_text(json.dumps({"file_name": "02.webp", "text": "noise, the third"}))
    whole = io.BytesIO()
    photograph(99).save(whole, "JPEG")
    bad = {
        "cut off.jpg": whole.getvalue()[:900], "empty.png": b"", "words.png": b"no picture", "zeros.webp": bytes(5000),
        "notes.pdf": b"%PDF-1.7", "program.exe": b"MZ", "archive.zip": b"PK no archive",
    }  # fmt: skip
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    Image.new("1", (20_000, 12_000)).save(folder / "a whole wall.png")  # few bytes, very many pixels
    photograph(98).resize((20, 20)).save(folder / "a stamp.png")
    for name in (".DS_Store", "Thumbs.db", "._00.jpg"):
        (folder / name).write_bytes(b"left by a system")
    assert len(list(folder.iterdir())) == 60
    return folder


def drop(page: Page, *paths: Path) -> None:
    """Drop files and folders onto the zone, as the system's own file manager would."""
    box = page.locator(".dropzone .zone").bounding_box()
    assert box
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 40}
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


def test_sixty_mixed_files_are_sorted_out(page: Page, address: str, mess: Path) -> None:
    page.goto(address)
    expect(page.get_by_role("button", name="Choose files")).to_be_visible(timeout=SHORT)
    drop(page, mess)
    expect(page.get_by_text("42 pictures added, 3 there already, 3 captions, 9 not taken.")).to_be_visible(timeout=LONG)
    refused = page.get_by_label("Files that were not taken")
    for name in ("cut off.jpg", "empty.png", "words.png", "zeros.webp", "notes.pdf", "program.exe", "archive.zip",
                 "a whole wall.png", "a stamp.png"):  # fmt: skip
        expect(refused).to_contain_text(name)
    # It is called as the folder is, its captions have found their pictures, and the check-up knows the rest.
    expect(page.get_by_label("Dataset", exact=True).locator("option:checked")).to_contain_text("Holiday")
    expect(page.get_by_text("39 without a caption", exact=True)).to_be_visible(timeout=SHORT)
    expect(page.get_by_label("Caption for Holiday/02.webp")).to_have_value("noise, the third")
    expect(page.get_by_text("39 pictures have no caption")).to_be_visible(timeout=SHORT)


def test_what_was_cut_is_sent_again_and_a_stop_keeps_what_has_come(page: Page, address: str, mess: Path) -> None:
    pictures = sorted(mess.glob("[0-9]*.png"))[:6]
    cut: set[str] = set()

    def cut_once(route: Route) -> None:
        if route.request.url in cut:
            route.continue_()
        else:
            cut.add(route.request.url)
            route.abort("connectionreset")

    page.goto(address)
    page.get_by_label("Dataset", exact=True).select_option(label="New dataset…", timeout=SHORT)
    expect(page.get_by_role("button", name="Choose files")).to_be_visible(timeout=SHORT)
    page.route(FILES, cut_once)
    drop(page, *pictures[:4])
    expect(page.get_by_text("4 pictures added.")).to_be_visible(timeout=SHORT)
    assert len(cut) == 4
    page.unroute(FILES)

    # What is there is not sent again; the others never end, until somebody stops them.
    held: list[Route] = []
    page.route(FILES, lambda route: held.append(route))
    drop(page, *pictures)
    expect(page.get_by_text("4 of 6 files sent")).to_be_visible(timeout=SHORT)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text(re.compile(r"Stopped: 0 pictures added, 4 there already"))).to_be_visible(timeout=SHORT)
    assert len(held) == 2
    page.unroute(FILES)
    page.get_by_role("button", name="Send these again").click()
    expect(page.get_by_text("2 pictures added.")).to_be_visible(timeout=SHORT)


def test_a_run_is_stopped_resumed_extended_copied_and_deleted(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_text("6 pictures", exact=True)).to_be_visible(timeout=SHORT)
    page.get_by_label("Name", exact=True).fill("Noise")
    page.get_by_label("Trigger word").fill("n0ise")
    for label, value in (("Rank", "4"), ("Batch", "1"), ("Steps", "40")):
        page.get_by_role("spinbutton", name=re.compile(label)).first.fill(value)
    expect(page.get_by_text("40 steps are your own choice")).to_be_visible(timeout=SHORT)
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Prior preservation").uncheck()
    page.get_by_role("button", name="Start training").click()

    card = page.locator(".run-card")
    expect(card.get_by_role("heading", name="Noise")).to_be_visible(timeout=SHORT)
    page.reload()
    expect(card.locator(".figures")).to_contain_text(re.compile(r"Step[1-9]"), timeout=LONG)
    card.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Stop training").click()
    resume = card.get_by_role("button", name=re.compile(r"Resume from step \d+"))
    expect(resume).to_be_visible(timeout=LONG)
    resume.click()
    use = card.get_by_role("button", name="Use in Generate")
    expect(use).to_be_visible(timeout=LONG)
    expect(card.locator(".figures")).to_contain_text("40 of 40")
    expect(card.locator(".when")).to_contain_text("attempt 2")

    more = card.get_by_label("What else can be done")
    more.click()
    card.get_by_role("button", name="Train on…").click()
    further = page.get_by_role("dialog", name="Train on")
    further.get_by_label("Further steps").fill("10")
    expect(further).to_contain_text("from step 40 to 50")
    further.get_by_role("button", name="Train on").click()
    expect(card.locator(".figures")).to_contain_text("50 of 50", timeout=LONG)
    expect(use).to_be_visible(timeout=LONG)

    more.click()
    card.get_by_role("button", name="New training like this…").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Noise", timeout=SHORT)
    expect(page.get_by_role("spinbutton", name=re.compile("Steps")).first).to_have_value("50")
    expect(page.get_by_role("spinbutton", name=re.compile("Rank")).first).to_have_value("4")

    page.goto(f"{address}/?tab=runs")
    expect(use).to_be_visible(timeout=SHORT)
    more.click()
    card.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", name="No trainings yet")).to_be_visible(timeout=SHORT)
    page.goto(f"{address}/?tab=loras")
    expect(page.get_by_role("button", name="Open Noise")).to_be_visible(timeout=SHORT)
