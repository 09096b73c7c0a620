import time
from typing import Any

from starlette.testclient import TestClient

from app.session import LOCAL_OWNER
from backend.contract import GeneratedImage, GenerationResult, Progress
from backend.keys import ImageKeys, RunKeys
from backend.storage import Storage
from tests.app.conftest import Past


def shown(browser: TestClient, keys: RunKeys) -> dict[str, Any]:
    runs = browser.get("/api/generations").json()["runs"]
    found: dict[str, Any] = next(run for run in runs if run["run_id"] == keys.run_id)
    return found


def at_work(storage: Storage, keys: RunKeys, **changes: Any) -> None:
    said = {
        "run_id": keys.run_id, "attempt": 1, "seq": 7, "updated_at": time.time(), "phase": "generating",
        "phases": [{"phase": "generating", "seconds": 5.0}], "step": 25, "steps": 40,
    }  # fmt: skip
    storage.loras.put_message(keys.progress, Progress.model_validate(said | changes))


def test_the_presses_before_one_that_waits_are_counted(browser: TestClient, past: Past) -> None:
    first, second = past.generation("a cat"), past.generation("a dog")

    assert shown(browser, second)["ahead"] == shown(browser, first)["ahead"] + 1


def test_what_is_drawn_so_far_is_shown_under_an_address_of_its_own(
    browser: TestClient, past: Past, storage: Storage
) -> None:
    keys = past.generation("a cat")
    at_work(storage, keys, preview_key=keys.preview, preview_index=2)
    before = shown(browser, keys)["preview"]
    assert shown(browser, keys)["preview_index"] == 2
    at_work(storage, keys, preview_key=keys.preview, seq=8)

    assert before.endswith("/preview.jpg?version=7")
    assert shown(browser, keys)["preview"].endswith("/preview.jpg?version=8")


def test_an_engine_without_previews_is_no_trouble(browser: TestClient, past: Past, storage: Storage) -> None:
    keys = past.generation("a cat")
    at_work(storage, keys)

    run = shown(browser, keys)

    assert (run["status"], run["preview"]) == ("running", "")
    assert abs(time.time() - run["phase_since"] - 5) < 2


def test_finished_pictures_are_shown_while_the_next_is_drawn(browser: TestClient, past: Past, storage: Storage) -> None:
    keys = past.generation("a cat")  # of two pictures
    at_work(storage, keys, step=25)

    pictures = shown(browser, keys)["pictures"]

    assert [picture["image_id"] for picture in pictures] == [ImageKeys.of_run(LOCAL_OWNER, keys.run_id, 0).image_id]
    assert pictures[0]["seed"] == str(2**63 + 1)


def test_the_picture_comes_in_the_end(browser: TestClient, past: Past, storage: Storage) -> None:
    keys = past.generation("a cat")
    image = ImageKeys.of_run(LOCAL_OWNER, keys.run_id, 0)
    made = GeneratedImage(key=image.image, url="https://x", thumb_key=image.thumb, width=128, height=128, seed=5)
    result = GenerationResult(run_id=keys.run_id, images=[made], seconds=1, phases=[], notes=["A note."])
    storage.loras.put_message(keys.result, result)

    run = shown(browser, keys)

    assert (run["status"], run["notes"], run["pictures"][0]["seed"]) == ("done", ["A note."], "5")


def test_an_up_to_date_page_is_answered_with_nothing(browser: TestClient, past: Past) -> None:
    past.generation("a cat")

    def up_to_date() -> int:
        version = browser.get("/api/generations").json()["version"]
        return browser.get("/api/generations", params={"since": version}).status_code

    # Those of other tests may come of an age at which more is said of them, once each.
    assert 204 in (up_to_date() for _ in range(3))
