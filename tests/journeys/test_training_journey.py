"""From a messy folder to a LoRA, as a person goes: sent, looked over, trained, stopped, gone on with, put away."""

import io
import json
import re
import zipfile
from pathlib import Path

import numpy
import pillow_heif
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.journeys.test_browser import LONG

FILES = re.compile(r"/api/datasets/[^/]+/files")


def photograph(number: int) -> Image.Image:
    """A picture like no other of these, with edges in it."""
    random = numpy.random.default_rng(number)
    small = Image.fromarray(random.integers(0, 255, (12, 16, 3), dtype=numpy.uint8))
    return small.resize((192, 144), Image.Resampling.NEAREST)


def many_kinds() -> dict[str, bytes]:
    """Pictures as cameras, phones, scanners and drawing programs write them, by file name."""
    made: dict[str, bytes] = {}

    def add(name: str, picture: Image.Image, file_format: str, **options: object) -> None:
        file = io.BytesIO()
        picture.save(file, file_format, **options)
        made[name] = file.getvalue()

    for number in range(18):
        suffix, file_format = (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"))[number % 3]
        add(f"{number:02d}.{suffix}", photograph(number), file_format)
    for number in range(18, 22):
        heic = io.BytesIO()
        pillow_heif.from_pillow(photograph(number)).save(heic, quality=80)
        made[f"{number}.heic"] = heic.getvalue()
    add("22.tiff", photograph(22), "TIFF")
    add("23.bmp", photograph(23), "BMP")
    add("24.avif", photograph(24), "AVIF")
    add("25.gif", photograph(25).quantize(), "GIF", save_all=True, append_images=[photograph(90).quantize()])
    add("26.jpg", photograph(26).convert("CMYK"), "JPEG")
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    add("27.jpg", photograph(27), "JPEG", exif=turned)
    add("28.png", photograph(28).convert("RGBA"), "PNG")
    add("29.png", Image.fromarray(numpy.asarray(photograph(29).convert("L"), numpy.uint16) * 257), "PNG")
    return made


def archive() -> bytes:
    """A ZIP as macOS packs one: two pictures in nested folders, a caption, and what nobody asked for."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for number in (40, 41):
            picture = io.BytesIO()
            photograph(number).save(picture, "JPEG")
            file.writestr(f"more/{number}/{number}.jpg", picture.getvalue())
        file.writestr("more/40/40.txt", "noise out of an archive")
        file.writestr("__MACOSX/more/40/._40.jpg", b"a resource fork")
    return packed.getvalue()


@pytest.fixture(scope="module")
def mess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 files: 30 pictures, 3 copies, an archive of 2, captions for 13, 9 that can't be taken, a system's leavings."""
    folder = tmp_path_factory.mktemp("somewhere") / "Holiday"
    folder.mkdir()
    pictures = many_kinds()
    captions = {f"{number:02d}.txt": f"noise, number {number}".encode() for number in range(11)}
    copies = {f"copy of {number}.jpg": pictures[f"{number:02d}.jpg"] for number in (0, 3, 6)}
    whole = pictures["00.jpg"]
    wall, stamp = io.BytesIO(), io.BytesIO()
    Image.new("1", (20_000, 12_000)).save(wall, "PNG")  # few bytes, very many pixels
    photograph(98).resize((20, 20)).save(stamp, "PNG")
    bad = {
        "cut off.jpg": whole[:900], "empty.png": b"", "words.png": b"no picture", "zeros.webp": bytes(5000),
        "notes.pdf": b"%PDF-1.7", "program.exe": b"MZ", "archive.zip": b"PK no archive",
        "a whole wall.png": wall.getvalue(), "a stamp.png": stamp.getvalue(),
    }  # fmt: skip
    others = {
        "more.zip": archive(), "captions.jsonl": json.dumps({"file_name": "11.webp", "text": "noise, listed"}).encode(),
        "captions.csv": b"file_name,text\n12.jpg,noise from a table\n",
        ".DS_Store": b"left by a system", "Thumbs.db": b"left by a system", "._00.jpg": b"left by a system",
        "desktop.ini": b"left by a system",
    }  # fmt: skip
    for name, data in (pictures | captions | copies | bad | others).items():
        (folder / name).write_bytes(data)
    assert len(list(folder.iterdir())) == 60
    return folder


def drop(page: Page, *paths: Path) -> None:
    """Drop files and folders onto the zone, as the system's own file manager would."""
    expect(page.locator("input.files")).to_have_count(1)  # its script has run
    box = page.locator(".dropzone .zone").bounding_box()
    assert box
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 40}
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


def accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_messy_folder_becomes_a_lora(page: Page, address: str, mess: Path) -> None:
    page.goto(address)
    expect(page.get_by_role("button", name="Choose files")).to_be_visible()
    drop(page, mess)
    said = "32 pictures added, 3 already there, 14 captions, 9 not taken."
    expect(page.get_by_text(said)).to_be_visible(timeout=LONG)
    refused = page.get_by_label("Files that were not taken")
    for name in ("cut off.jpg", "empty.png", "words.png", "zeros.webp", "notes.pdf", "program.exe", "archive.zip",
                 "a whole wall.png", "a stamp.png"):  # fmt: skip
        expect(refused).to_contain_text(name)
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text(said)).to_have_count(0)
    # It is called as the folder is, its captions have found their pictures, and what lay on its side stands.
    expect(page.get_by_label("Dataset", exact=True).locator("option:checked")).to_contain_text("Holiday")
    expect(page.get_by_label("Caption for Holiday/02.webp")).to_have_value("noise, number 2")
    expect(page.get_by_label("Caption for Holiday/12.jpg")).to_have_value("noise from a table")
    expect(page.get_by_title("Holiday/27.jpg · 144 × 192")).to_have_count(1)

    look_over(page)
    train(page)
    what_else_can_be_done(page, address)


def look_over(page: Page) -> None:
    """The check-up leads to the pictures without a caption, which are written one by one and all at once."""
    without = page.get_by_text("18 pictures have no caption")
    expect(without).to_be_visible()
    page.get_by_role("listitem").filter(has=without).get_by_role("button", name="Show them").click()
    expect(page.get_by_text("18 selected")).to_be_visible()
    page.get_by_text("Edit captions…").click()
    page.get_by_text("Set all", exact=True).click()
    page.get_by_label("Text", exact=True).fill("noise all over")
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_text("All changes saved")).to_be_visible()
    expect(without).to_have_count(0)

    page.get_by_role("button", name="Enlarge Holiday/13.png").click()
    sheet = page.get_by_role("dialog", name="One picture and its caption")
    expect(sheet).to_contain_text("Holiday/13.png")
    expect(sheet.locator(".crop")).to_contain_text("144 × 112")
    page.keyboard.press("Enter")
    expect(sheet).to_contain_text("Holiday/14.webp")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("noise, looked at closely")
    accessible(page)
    page.keyboard.press("Escape")
    expect(page.get_by_label("Caption for Holiday/14.webp")).to_have_value("noise, looked at closely")

    page.get_by_label("Trigger word").fill("n0ise")
    fix = page.get_by_role("button", name="Add “n0ise” in front")
    fix.click()
    expect(page.get_by_label("Caption for Holiday/00.jpg")).to_have_value("n0ise, noise, number 0")
    expect(fix).to_have_count(0)
    accessible(page)


def train(page: Page) -> None:
    """A run outlives a reload, is stopped by keyboard, and resumed to its end."""
    page.get_by_label("Name", exact=True).fill("Noise")
    for label, value in (("Rank", "4"), ("Batch", "1"), ("Steps", "40")):
        page.get_by_role("spinbutton", name=re.compile(label)).first.fill(value)
    expect(page.get_by_text("40 steps are your own choice")).to_be_visible()
    page.get_by_role("button", name="Sample prompts").click()
    page.locator("#sample-prompts textarea").fill("a [trigger]")
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Prior preservation").uncheck()
    page.get_by_role("button", name="Start training").press("Enter")

    card = page.locator(".run-card")
    expect(card.get_by_role("heading", name="Noise")).to_be_visible()
    page.reload()
    expect(card.locator(".figures")).to_contain_text(re.compile(r"Step[1-9]"), timeout=LONG)
    card.get_by_role("button", name="Cancel").press("Enter")
    page.get_by_role("button", name="Stop training").press("Enter")
    resume = card.get_by_role("button", name=re.compile(r"Resume from step \d+"))
    expect(resume).to_be_visible(timeout=LONG)
    resume.press("Enter")
    expect(card.get_by_role("button", name="Use in Generate")).to_be_visible(timeout=LONG)
    expect(card.locator(".figures")).to_contain_text("40 of 40")
    expect(card.locator(".when")).to_contain_text("attempt 2")

    # The samples, one large: from before the training to its end.
    card.get_by_role("button", name="Sample of “a n0ise” at step 0, enlarge").click()
    large = page.get_by_role("dialog", name="Samples along the steps")
    page.keyboard.press("End")
    expect(large).to_contain_text("Step 40")
    expect(large.get_by_role("button", name="Prompt this checkpoint")).to_be_visible()
    accessible(page)
    page.keyboard.press("Escape")
    accessible(page)


def what_else_can_be_done(page: Page, address: str) -> None:
    """It is trained on, begun anew with its settings, compared, and deleted; its LoRA stays."""
    card, more = page.locator(".run-card"), page.get_by_label("More actions")
    use = card.get_by_role("button", name="Use in Generate")
    more.click()
    card.get_by_role("button", name="Train for longer…").click()
    further = page.get_by_role("dialog", name="Train for longer")
    further.get_by_label("More steps").fill("10")
    expect(further).to_contain_text("from step 40 to 50")
    further.get_by_role("button", name="Continue training").click()
    expect(card.locator(".figures")).to_contain_text("50 of 50", timeout=LONG)
    expect(use).to_be_visible(timeout=LONG)

    more.click()
    card.get_by_role("button", name="New training like this…").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Noise")
    expect(page.get_by_role("spinbutton", name=re.compile("Steps")).first).to_have_value("50")
    expect(page.get_by_role("spinbutton", name=re.compile("Rank")).first).to_have_value("4")

    page.goto(f"{address}/?tab=runs")
    expect(use).to_be_visible()
    card.get_by_role("button", name="Compare in a grid").click()
    expect(page.get_by_label("Run", exact=True).locator("option:checked")).to_have_text("Noise")
    page.goto(f"{address}/?tab=runs")
    expect(use).to_be_visible()
    more.click()
    card.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="No trainings yet")).to_be_visible()
    page.goto(f"{address}/?tab=loras")
    expect(page.get_by_role("button", name="Open Noise")).to_be_visible()


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
    page.get_by_label("Dataset", exact=True).select_option(label="New dataset…")
    expect(page.get_by_role("button", name="Choose files")).to_be_visible()
    page.route(FILES, cut_once)
    drop(page, *pictures[:4])
    expect(page.get_by_text("4 pictures added.")).to_be_visible()
    assert len(cut) == 4
    page.unroute(FILES)

    # What is there is not sent again; the others never end, until somebody stops them.
    held: list[Route] = []
    page.route(FILES, lambda route: held.append(route))
    drop(page, *pictures)
    expect(page.get_by_text("4 of 6 files sent")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text(re.compile(r"Stopped: 0 pictures added, 4 already there"))).to_be_visible()
    assert len(held) == 2
    page.unroute(FILES)
    page.get_by_role("button", name="Send these again").click()
    expect(page.get_by_text("2 pictures added.")).to_be_visible()


def test_everything_is_reached_by_keyboard(page: Page, address: str, sample_pictures: list[Path]) -> None:
    page.goto(address)
    page.locator("input.files").first.set_input_files(sample_pictures[:3])
    expect(page.locator(".dropzone .note")).to_contain_text(re.compile("added|already there"))
    page.goto(address)
    expect(page.locator(".caption-grid figure").first).to_be_visible()
    expect(page.locator(".checkup .verdict")).not_to_be_empty()  # the last to come
    for _ in range(400):
        page.keyboard.press("Tab")
        if page.evaluate(
            "() => document.activeElement === document.body || !(document.activeElement.dataset.reached = 1)"
        ):
            break
    missed = page.evaluate("""() => [...document.querySelectorAll('button, a[href], input, select, textarea, summary')]
      .filter(each => each.checkVisibility() && !each.disabled && !each.dataset.reached && each.type !== 'radio')
      .map(each => each.outerHTML.slice(0, 120))""")
    assert missed == []
