"""The hosted studio while what it stands on goes away and comes back: nothing is lost, the page says what is going on,
and it goes on by itself. Storage and RunPod are the real ones of one computer, each behind a wire that can be cut."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from app.session import LOCAL_OWNER
from backend.settings import Settings
from backend.studio import Studio
from tests.journeys.conftest import STILL
from tests.served import ServedStudio
from tests.wire import Wire

QUICK = {"lora_name": "Outage", "trigger_word": "zorbot", "rank": 4, "batch_size": 1, "prior_preservation": False}
LONG = 90_000  # milliseconds on a busy machine


class Space(ServedStudio):
    """A studio set up as on a Space: everything it stands on is elsewhere."""

    def __init__(self, far: Settings, home: Path) -> None:
        self.storage, self.runpod = Wire(_port_of(far.r2_endpoint_url)), Wire(_port_of(far.runpod_base_url))
        environment = {
            "ATELIER_HOME": str(home),
            "R2_ENDPOINT_URL": f"http://127.0.0.1:{self.storage.port}",
            "R2_ACCESS_KEY_ID": far.r2_access_key_id,
            "R2_SECRET_ACCESS_KEY": far.r2_secret_access_key.get_secret_value(),
            "R2_LORA_BUCKET": far.r2_lora_bucket,
            "R2_OUTPUT_BUCKET": far.r2_output_bucket,
            "RUNPOD_API_KEY": far.runpod_api_key.get_secret_value(),
            "RUNPOD_BASE_URL": f"http://127.0.0.1:{self.runpod.port}/v2",
            "RUNPOD_TRAINING_ENDPOINT_ID": far.runpod_training_endpoint_id,
            "RUNPOD_IMAGE_GENERATION_ENDPOINT_ID": far.runpod_image_generation_endpoint_id,
        }
        super().__init__(environment)


def _port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


@pytest.fixture(scope="module")
def space(machine_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    with Space(machine_settings, tmp_path_factory.mktemp("space")) as space:
        yield space


@pytest.fixture
def page(browser: Browser, space: Space) -> Iterator[Page]:
    """A page that is opened once, whatever happens."""
    context = browser.new_context(**STILL)
    yield context.new_page()
    context.close()


def test_a_run_is_followed_through_every_outage(studio: Studio, space: Space, page: Page) -> None:
    dataset = studio.datasets.sample(LOCAL_OWNER)
    run_id = studio.training.start(LOCAL_OWNER, dataset.id, "tiny-flux", steps=20_000, save_every=10_000, **QUICK)
    page.goto(f"{space.url}/?tab=runs&run={run_id}")
    card = page.locator(".run-card")
    notice, step = card.locator(".poll-notice"), card.locator(".figures dd").first

    def goes_on(since: str) -> None:
        expect(step).not_to_have_text(since, timeout=LONG)

    expect(step).not_to_have_text("0 of 20,000", timeout=LONG)

    space.storage.cut()
    expect(notice).to_contain_text("Storage is not responding")
    expect(notice).to_contain_text("nothing is lost")
    assert httpx.get(f"{space.url}/healthz", timeout=2).is_success
    before = step.inner_text()
    space.storage.mend()
    expect(notice).to_have_text("", timeout=LONG)
    goes_on(before)

    space.storage.hold()
    expect(notice).to_contain_text("Storage is not responding")
    before = step.inner_text()
    space.storage.release()
    expect(notice).to_have_text("", timeout=LONG)
    goes_on(before)

    space.runpod.cut()
    expect(notice).to_contain_text("training endpoint is not responding")
    # What the worker stores is still to be seen: it doesn't go by way of RunPod.
    goes_on(step.inner_text())
    expect(card.locator(".chip")).to_have_text("Training")
    space.runpod.mend()
    expect(notice).to_have_text("")

    space.kill()
    expect(notice).to_contain_text("The studio is not responding")
    before = step.inner_text()
    space.start()
    expect(notice).to_have_text("", timeout=LONG)
    goes_on(before)
    card.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Stop training").click()
    expect(card.locator(".chip")).to_have_text("Cancelled", timeout=LONG)


def test_pictures_are_all_there_after_a_restart_in_the_middle(
    studio: Studio, space: Space, page: Page, sample_pictures: list[Path]
) -> None:
    studio.datasets.sample(LOCAL_OWNER)  # the page opens the newest dataset, or none
    page.goto(f"{space.url}/?tab=train")
    expect(page.get_by_text("12 pictures", exact=True).first).to_be_visible()
    page.get_by_label("Dataset", exact=True).select_option("")
    expect(page.get_by_role("button", name="Choose files")).to_be_visible()
    page.locator("input.files").first.set_input_files(sample_pictures)
    expect(page.locator(".dropzone .note")).to_contain_text("of 12 files sent")
    space.kill()
    # So does Gradio's own script where one of its events broke off. The pictures are still this page's.
    page.evaluate("() => location.reload()")
    space.start()
    expect(page.get_by_text("12 pictures", exact=True).first).to_be_visible(timeout=LONG)
    page.wait_for_function("() => performance.getEntriesByType('navigation')[0].type === 'reload'")


def test_a_picture_that_was_asked_for_comes_after_a_restart(space: Space, page: Page) -> None:
    page.goto(f"{space.url}/?tab=generate")
    page.get_by_label("Prompt", exact=True).fill("a zorbot in an outage")
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    asked = page.locator(".image-feed article", has_text="a zorbot in an outage").first
    expect(asked.get_by_role("button", name="Cancel")).to_be_visible()
    space.kill()
    space.start()
    expect(asked.get_by_role("button", name="Open picture 1")).to_be_visible(timeout=LONG)


def test_what_never_reached_runpod_says_so(space: Space, page: Page) -> None:
    page.goto(f"{space.url}/?tab=generate")
    page.get_by_label("Prompt", exact=True).fill("a zorbot nobody heard of")
    space.runpod.cut()
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    expect(page.get_by_text("The image generation endpoint is not responding").first).to_be_visible()
    asked = page.locator(".image-feed article", has_text="a zorbot nobody heard of").first
    expect(asked.locator(".note")).to_contain_text("RunPod doesn't have this yet")
    space.runpod.mend()
