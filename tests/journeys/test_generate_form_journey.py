"""The Generate form as a person uses it: start pictures, words from before, seeds, shapes, styles, wildcards."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.journeys.test_browser import LONG, open_tab


@pytest.fixture
def form(page: Page, address: str) -> Page:
    """The form with nothing on it."""
    page.goto(f"{address}/?tab=generate")
    expect(page.get_by_label("Prompt", exact=True)).to_be_visible()
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
    expect(newest(page)).to_have_attribute("aria-busy", "true")
    expect(newest(page)).not_to_have_attribute("aria-busy", "true", timeout=LONG)
    expect(newest(page).locator("img")).to_have_count(pictures)
    feed = page.evaluate("fetch('/api/generations').then(reply => reply.json())")
    run: dict[str, Any] = feed["runs"][0]
    return run


def bring(page: Page, how: str, path: Path) -> None:
    """Drop a file on the page, or paste it, as the browser would tell the page of it."""
    page.evaluate(
        """([how, name, bytes]) => {
          const files = new DataTransfer();
          files.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' }));
          const told = { bubbles: true, cancelable: true, dataTransfer: files, clipboardData: files };
          const event = how === 'drop' ? new DragEvent(how, told) : new ClipboardEvent(how, told);
          document.querySelector('#generate-form').dispatchEvent(event);
        }""",
        [how, path.name, list(path.read_bytes())],
    )


def test_a_picture_is_drawn_from_a_file_and_that_one_from_the_gallery(
    form: Page, address: str, sample_pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    slot = form.get_by_label("Start picture", exact=True)
    slot.locator("input[type=file]").set_input_files(tmp_path / "notes.png")
    expect(slot.get_by_role("alert")).to_have_text(
        "notes.png is not a picture that can be read. Save it as JPEG, PNG or WebP."
    )
    bring(form, "drop", sample_pictures[0])
    expect(slot).to_contain_text("256 × 256")
    expect(slot.locator(".refused")).to_be_empty()
    dropped = slot.locator("img").get_attribute("src")
    bring(form, "paste", sample_pictures[1])
    expect(slot.locator("img")).not_to_have_attribute("src", re.compile(f"^blob:|{re.escape(str(dropped))}"))
    slot.get_by_label("How much to change").fill("0.3")
    form.locator("#tab-generate").get_by_role("button", name="Advanced").click()
    form.get_by_role("radio", name="WebP").check(force=True)
    expect(form.get_by_role("spinbutton", name="Quality")).to_be_visible()
    write(form, "a red robot")

    drawn = generate(form)["pictures"][0]

    assert drawn["url"].endswith(".webp")
    assert form.request.get(f"{address}{drawn['url']}").headers["content-type"] == "image/webp"
    # By way of the picture itself.
    write(form, "")
    newest(form).get_by_label("Open picture 1").click()
    view = form.get_by_role("dialog", name="Picture")
    expect(view.get_by_role("link", name="Download WebP")).to_be_visible()
    view.get_by_role("button", name="Use as start").click()
    expect(slot).to_contain_text("128 × 128")
    expect(form.get_by_label("Prompt", exact=True)).to_have_value("a red robot")
    slot.get_by_role("button", name="Remove the start picture").click()
    expect(slot.get_by_role("button", name="File")).to_be_focused()
    # By way of the form.
    slot.get_by_role("button", name="Gallery").click()
    slot.get_by_role("dialog").get_by_role("button", name="Start from: a red robot").first.click()
    expect(slot).to_contain_text("128 × 128")
    generate(form)

    # What it was started from comes back with it.
    open_tab(form, "Gallery")
    form.locator(".gallery-wall .open").first.click()
    expect(view.get_by_text("changed by 0.6")).to_be_visible()
    view.get_by_role("button", name="Another picture").click()
    expect(view.get_by_text("changed by 0.3")).to_be_visible()
    view.get_by_role("button", name="Reuse everything").click()
    expect(slot).to_contain_text("Starts from this picture")
    expect(slot.get_by_label("How much to change")).to_have_value("0.3")


def test_one_of_hundreds_of_loras_is_found_and_added_by_keyboard(form: Page) -> None:
    def serve(route: Route) -> None:
        loras = [
            {"key": f"loras/local/{number}/l.safetensors", "name": f"LoRA {number}", "detail": "", "thumb": "",
             "architecture": "flux-tiny" if number < 299 else "sdxl", "base_model": "A base", "trigger_word": ""}
            for number in range(300)
        ]  # fmt: skip
        route.fulfill(body=json.dumps({"version": "1", "loras": loras}), content_type="application/json")

    form.route(re.compile(r"/api/loras\?since="), serve)
    form.reload()
    picker = form.get_by_role("region", name="LoRAs", exact=True)
    expect(picker.get_by_text("240 more. Search to find them.")).to_be_visible()
    search = picker.get_by_label("Search LoRAs")
    for number in (123, 299):
        search.fill(f"lora {number}")
        expect(picker.locator(".choice")).to_have_count(1)
        search.press("Enter")
    expect(picker.get_by_label("Chosen LoRAs").locator("li")).to_have_count(1)
    expect(form.get_by_text("LoRA 299 is made for A base and doesn’t fit Tiny FLUX.")).to_be_visible()
    search.fill("lora 12")
    search.press("ArrowDown")
    form.keyboard.press("ArrowRight")
    expect(picker.locator(".choice").nth(1)).to_be_focused()


def test_what_was_written_comes_back_by_the_up_key_and_by_the_menu(form: Page) -> None:
    box = write(form, "an owl")
    box.press("Control+Enter")
    expect(newest(form)).to_contain_text("an owl")
    write(form, "a fox").press("Meta+Enter")
    expect(newest(form)).to_contain_text("a fox")
    expect(newest(form)).to_contain_text("seed")

    write(form, "")
    shown = []
    for key in ("ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown"):
        box.press(key)
        shown.append(box.input_value())
    assert shown == ["a fox", "an owl", "a fox", ""]
    # What is being written is not lost, and the key moves the caret first where there is a line to move to.
    box.fill("first line\nsecond line")
    box.press("ArrowUp")
    assert box.input_value() == "first line\nsecond line"
    box.press("Home")
    box.press("ArrowUp")
    expect(box).to_have_value("a fox")
    box.press("ArrowDown")
    expect(box).to_have_value("first line\nsecond line")

    form.get_by_label("Earlier prompts").click()
    form.get_by_role("button", name="an owl", exact=True).click()
    expect(box).to_have_value("an owl")
    form.reload()
    expect(box).to_have_value("an owl")  # what was being written is there still
    expect(newest(form)).to_contain_text("a fox")
    write(form, "").press("ArrowUp")
    expect(box).to_have_value("a fox")


def test_a_seed_is_kept_drawn_and_stepped_and_a_shape_is_drawn(form: Page) -> None:
    seed = form.get_by_label("Seed", exact=True)
    lock = form.get_by_role("button", name="Keep the seed")
    seed.fill(str(2**64 - 1))
    expect(lock).to_have_attribute("aria-pressed", "true")
    form.get_by_role("button", name="Seed plus one").click()
    expect(seed).to_have_value("0")
    form.get_by_role("button", name="Seed minus one").click()
    expect(seed).to_have_value(str(2**64 - 1))
    form.get_by_role("radio", name="Portrait, 96 × 160").check(force=True)
    form.get_by_role("spinbutton", name="Pictures").fill("1")
    write(form, "a fox")

    run = generate(form, pictures=1)

    assert (run["seed"], run["width"], run["height"]) == (str(2**64 - 1), 96, 160)
    # What stands on the form is what a picture brings back, whatever was chosen meanwhile.
    form.get_by_role("radio", name="Square, 128 × 128").check(force=True)
    newest(form).get_by_label("Open picture 1").click()
    form.get_by_role("button", name="Reuse everything").click()
    portrait = form.get_by_role("radio", name="Portrait, 96 × 160")
    expect(portrait).to_be_checked()
    portrait.press("ArrowLeft")
    expect(form.get_by_role("radio", name="Landscape, 160 × 96")).to_be_focused()
    expect(form.get_by_role("radio", name="Landscape, 160 × 96")).to_be_checked()
    portrait.check(force=True)
    lock.click()
    expect(seed).to_have_value("")
    drawn = generate(form, pictures=1)
    lock.click()
    expect(seed).to_have_value(drawn["seed"])
    form.get_by_role("button", name="Random seed").click()
    expect(seed).not_to_have_value(drawn["seed"])
    seed.fill("12a")
    form.get_by_role("button", name="Generate", exact=True).click()
    expect(form.locator("#generate-message")).to_contain_text("The seed is '12a'")


def test_only_a_model_that_heeds_it_is_told_what_to_leave_out(form: Page) -> None:
    without = form.get_by_label("Negative prompt")
    expect(without).to_have_count(0)
    form.locator("#tab-generate").get_by_label("Base model").click()
    form.get_by_role("option", name="Stable Diffusion XL").click()
    expect(without).to_be_visible()
    expect(form.get_by_role("radio", name="Wide 16:9, 1344 × 768")).to_be_attached()


def test_loras_are_searched_added_and_say_why_they_can_not_be(form: Page, address: str) -> None:
    def card(name: str, fits: bool) -> dict[str, str]:
        kind = (
            {"architecture": "flux-tiny", "base_model": "Tiny FLUX"}
            if fits
            else {"architecture": "sdxl", "base_model": "SDXL"}
        )
        return {"key": f"loras/local/{name}.safetensors", "name": name, "detail": "", "trigger_word": "bot",
                "thumb": f"{address}/sample/0{len(name) % 10}.png", **kind}  # fmt: skip

    names = ["Robot", "Zebra", "Clay", "Paper cut", "Nocturne", "Harbour"]
    cards = [card("Foreign", False), *(card(name, True) for name in names)]

    def serve(route: Route) -> None:
        route.fulfill(body=json.dumps({"version": "1", "loras": cards}), content_type="application/json")

    form.route("**/api/loras?*", serve)
    form.reload()
    picker = form.get_by_role("region", name="LoRAs", exact=True)
    foreign = picker.get_by_role("button", name="Foreign Made for SDXL")
    expect(foreign).to_have_attribute("aria-disabled", "true")
    foreign.focus()
    form.keyboard.press("Enter")
    expect(form.get_by_text("Foreign is made for SDXL and doesn’t fit Tiny FLUX.")).to_be_visible()
    chosen = picker.get_by_role("list", name="Chosen LoRAs")
    expect(chosen.get_by_role("listitem")).to_have_count(0)

    search = picker.get_by_role("searchbox", name="Search LoRAs")
    search.fill("paper")
    expect(picker.locator(".choice")).to_have_count(1)
    picker.get_by_role("button", name="Paper cut").click()
    search.fill("")
    picker.get_by_role("button", name="Robot").click()
    expect(chosen.get_by_role("listitem")).to_have_count(2)
    chosen.get_by_label("Strength of Robot").fill("0.6")
    box = write(form, "a robot")  # which is another word than the trigger
    chosen.get_by_role("button", name="+ Add “bot” to the prompt").first.click()
    expect(box).to_have_value("a robot, bot")
    expect(chosen.get_by_role("button", name="+ Add")).to_have_count(0)


def test_wildcards_are_drawn_for_each_picture_and_reused_as_they_were_drawn(form: Page, address: str) -> None:
    box = write(form, "a {red|blue|green|yellow} ")
    form.get_by_role("button", name="Wildcards").click()
    dialog = form.get_by_role("dialog", name="Wildcards")
    dialog.get_by_role("button", name="New list").click()
    editor = form.get_by_role("dialog", name="New list")
    editor.get_by_label("Name").fill("Ä/b")
    editor.get_by_label("One per line").fill("owl\n\nfox\n")
    editor.get_by_role("button", name="Save").click()
    expect(editor.get_by_role("alert")).to_contain_text("The name takes small letters and digits")
    editor.get_by_label("Name").fill("Night animal")
    editor.get_by_label("Name").press("Enter")
    expect(dialog).to_contain_text("__night-animal__owl, fox")
    dialog.get_by_role("button", name="Insert night-animal").click()
    expect(box).to_have_value("a {red|blue|green|yellow} __night-animal__")
    form.get_by_label("Seed", exact=True).fill("1")

    run = generate(form)

    prompts = [picture["prompt"] for picture in run["pictures"]]
    assert run["prompt"] == "a {red|blue|green|yellow} __night-animal__"
    assert len(set(prompts)) > 1
    assert not any("{" in prompt or "_" in prompt for prompt in prompts)
    newest(form).get_by_label(f"Open picture 2: {prompts[1]}").click()
    view = form.get_by_role("dialog", name="Picture")
    expect(view.get_by_text(run["prompt"])).to_be_visible()
    view.get_by_role("button", name="Reuse everything").click()
    expect(box).to_have_value(prompts[1])
    expect(form.get_by_label("Seed", exact=True)).to_have_value("2")
    # The words with their wildcards and the picture's own seed come to the same.
    box.fill(run["prompt"])
    expect(form.get_by_role("spinbutton", name="Pictures")).to_have_value("1")
    again = generate(form, pictures=1)
    assert again["pictures"][0]["prompt"] == prompts[1]

    box.fill("")
    newest(form).get_by_label("Open picture 1").click()
    view.get_by_role("button", name="Prompt only").click()
    expect(box).to_have_value(run["prompt"])
    box.fill("a __nothing__")
    box.press("Control+Enter")
    expect(form.locator("#generate-message")).to_contain_text("There is no list 'nothing'.")


def test_a_style_is_written_chosen_changed_and_deleted(form: Page) -> None:
    form.get_by_role("button", name="Edit styles").click()
    dialog = form.get_by_role("dialog", name="Styles")
    dialog.get_by_role("button", name="New style").click()
    editor = form.get_by_role("dialog", name="New style")
    editor.get_by_label("Name").fill("On blue")
    editor.get_by_label("Template").fill("{prompt} on a blue background")
    editor.get_by_role("button", name="Save").click()
    expect(dialog).to_contain_text("On blue")
    form.keyboard.press("Escape")
    form.reload()
    on_blue = form.get_by_role("group", name="Styles").get_by_role("button", name="On blue")
    on_blue.focus()
    form.keyboard.press("Enter")
    expect(on_blue).to_have_attribute("aria-pressed", "true")
    expect(on_blue).to_be_focused()
    form.get_by_role("spinbutton", name="Pictures").fill("1")
    box = write(form, "an apple")

    assert generate(form, pictures=1)["prompt"] == "an apple on a blue background"

    # Brought back, it is not written in the style twice.
    box.fill("")
    box.press("ArrowUp")
    expect(box).to_have_value("an apple on a blue background")
    assert generate(form, pictures=1)["prompt"] == "an apple on a blue background"
    form.get_by_role("button", name="Edit styles").click()
    dialog.get_by_role("button", name="Delete On blue").click()
    form.get_by_role("dialog", name="Delete the style").get_by_role("button", name="Delete").click()
    expect(on_blue).to_have_count(0)
    form.keyboard.press("Escape")
    box.fill("a pear")
    assert generate(form, pictures=1)["prompt"] == "a pear"


def test_a_picture_forms_in_its_tile_until_it_is_there_itself(form: Page) -> None:
    write(form, "a cat")
    drawn = generate(form)
    picture, run_id = drawn["pictures"][0], f"{drawn['run_id'][:-8]}ffffffff"
    late = picture | {"thumb": "/media/outputs/thumbs/not-there-yet.webp"}
    run = drawn | {"run_id": run_id, "status": "running", "phase": "generating", "steps": 40, "preview_index": 0}
    now: dict[str, Any] = {}

    def say(version: str, **changes: Any) -> None:
        now.update(run | {"version": version, "preview": f"{picture['thumb']}#{version}"} | changes)

    def answer(route: Route) -> None:
        route.fulfill(json={"version": now["version"], "runs": [now, drawn]})

    say("1", step=4, pictures=[])
    form.route("**/api/generations?*", answer)
    tiles = newest(form).locator(".tiles > *")
    expect(tiles.nth(0).locator(".preview")).to_be_visible(timeout=LONG)
    # Its steps are done and it is on its way to storage: what it looked like stays, and stays where it is.
    with form.expect_request_finished(lambda asked: "not-there-yet" in asked.url, timeout=LONG):
        say("2", step=10, pictures=[late])
    form.wait_for_timeout(300)
    expect(tiles.nth(0).locator(".preview")).to_be_visible()
    expect(newest(form).locator(".preview")).to_have_count(1)
    say("3", step=11, pictures=[picture], preview_index=1)
    expect(tiles.nth(0)).to_have_attribute("aria-label", "Open picture 1: a cat", timeout=LONG)
    expect(tiles.nth(1).locator(".preview")).to_be_visible()
    form.unroute("**/api/generations?*")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_part_of_the_form_is_accessible(
    browser: Browser, address: str, sample_pictures: list[Path], scheme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{address}/?tab=generate")
    slot, tab = page.get_by_label("Start picture", exact=True), page.locator("#tab-generate")

    def fill() -> None:
        slot.locator("input[type=file]").set_input_files(sample_pictures[0])
        expect(slot).to_contain_text("256 × 256")
        page.get_by_role("button", name="Flat icon").click()
        page.get_by_label("Seed", exact=True).fill("7")
        tab.get_by_role("button", name="Advanced").click()
        page.get_by_role("radio", name="JPEG").check(force=True)

    def choose() -> None:
        tab.get_by_label("Base model").click()
        page.get_by_role("option", name="Stable Diffusion XL").click()
        expect(page.get_by_label("Negative prompt")).to_be_visible()

    states = {
        "filled": fill,
        "another base model": choose,
        "earlier prompts": lambda: page.get_by_label("Earlier prompts").click(),
        "styles": lambda: (page.keyboard.press("Escape"), page.get_by_role("button", name="Edit styles").click()),
        "a style": lambda: page.get_by_role("button", name="Edit Photograph").click(),
        "lists": lambda: (page.keyboard.press("Escape"), page.get_by_role("button", name="Wildcards").click()),
        "the gallery": lambda: (
            page.keyboard.press("Escape"),
            slot.get_by_role("button", name="Remove the start picture").click(),
            slot.get_by_role("button", name="Gallery").click(),
        ),
    }
    for state, reach in states.items():
        reach()
        page.wait_for_timeout(700)  # what comes after the first paint, transitions too
        assert page.evaluate("document.documentElement.scrollWidth") <= width, state
        found = Axe().run(page)
        assert found.violations_count == 0, f"{state}: {found.generate_report()}"
    context.close()
