import io
import json
import time
import zipfile
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.testclient import TestClient

from app.session import LOCAL_OWNER
from backend.keys import ImageKeys
from backend.storage import Storage
from tests.app.conftest import Past


def listed(browser: TestClient, image_id: str, **wanted: Any) -> dict[str, Any] | None:
    """A picture's tile, as soon as the index has seen the picture."""
    for _ in range(60):
        pictures = browser.get("/api/gallery", params=wanted).json()["pictures"]
        if tile := next((each for each in pictures if each["image_id"] == image_id), None):
            return dict(tile)
        time.sleep(0.1)
    return None


def png(**texts: str) -> bytes:
    information, buffer = PngInfo(), io.BytesIO()
    for name, text in texts.items():
        information.add_text(name, text)
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=information)
    return buffer.getvalue()


def test_a_picture_is_shown_with_its_settings_and_deleted_for_good(browser: TestClient, past: Past) -> None:
    record = past.picture()

    tile = listed(browser, record.id)
    detail = browser.get(f"/api/gallery/{record.id}").json()
    deleted = browser.post("/api/gallery/delete", json={"image_ids": [record.id]})

    assert tile and (tile["width"], tile["height"], tile["prompt"]) == (160, 112, record.prompt)
    assert (detail["prompt"], detail["seed"], detail["base_model"]) == (record.prompt, str(record.seed), "Tiny FLUX")
    assert deleted.status_code == 204
    assert browser.get(f"/api/gallery/{record.id}").status_code == 404
    assert browser.get(f"/media/outputs/{record.key}").status_code == 404
    assert record.id not in browser.get("/api/gallery").text


def test_a_favourite_is_found_among_favourites(browser: TestClient, past: Past) -> None:
    record = past.picture("a favourite zebra")
    browser.post("/api/gallery/favourite", json={"image_ids": [record.id], "favourite": True})

    assert listed(browser, record.id, liked="1", q="zebr", shape="landscape")
    assert browser.get(f"/api/gallery/{record.id}").json()["favourite"]
    assert browser.get("/api/gallery", params={"q": "zebr", "shape": "portrait"}).json()["pictures"] == []
    summary = browser.get("/api/gallery/summary", params={"q": "zebra"}).json()
    assert summary["wanted"] == 1
    assert {"value": "tiny-flux", "name": "Tiny FLUX"}.items() <= summary["base_models"][0].items()


@pytest.mark.parametrize("query", ["after=nonsense", "shape=round", "since=yesterday", "until=-4", "since=nan"])
def test_an_impossible_question_is_answered_in_words(browser: TestClient, query: str) -> None:
    reply = browser.get(f"/api/gallery?{query}")
    assert reply.status_code in (400, 404)
    assert reply.json()["error"]


def test_an_impossible_picture_is_not_found(browser: TestClient) -> None:
    assert browser.get("/api/gallery/..%2f..%2fsecret").status_code == 404
    assert browser.post("/api/gallery/delete", json={"image_ids": ["../../x"]}).status_code == 400
    assert browser.post("/api/gallery/delete", json={"image_ids": []}).status_code == 400


def test_pictures_are_downloaded_as_one_archive(browser: TestClient, past: Past) -> None:
    records = [past.picture(f"number {number}") for number in range(3)]

    told = {"message": json.dumps({"image_ids": [record.id for record in records]})}
    reply = browser.post("/api/gallery/download", data=told)
    refused = browser.post("/api/gallery/download", data={"message": "{"})

    assert reply.headers["content-disposition"].startswith("attachment")
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert len(archive.namelist()) == 3
    assert refused.status_code == 400


def test_a_picture_of_comfyuis_gives_its_workflow(browser: TestClient, past: Past, storage: Storage) -> None:
    with_it, without = past.picture("with"), past.picture("without")
    storage.outputs.put(with_it.key, png(prompt='{"3": {}}'))
    storage.outputs.put(without.key, png())

    graph = browser.get(f"/api/gallery/{with_it.id}/workflow")
    none = browser.get(f"/api/gallery/{without.id}/workflow")

    assert json.loads(graph.content) == {"3": {}}
    assert "with" in graph.headers["content-disposition"]
    assert (none.status_code, none.json()["error"]) == (
        404, "This picture was made without ComfyUI, so it has no workflow.",
    )  # fmt: skip


def test_a_dropped_png_tells_its_settings(browser: TestClient) -> None:
    settings = "Steps: 4, CFG scale: 1.5, Seed: 18446744073709551615, Size: 96x64, Model: tiny-flux"
    text = f"a boat <lora:unheard-of:0.5>\n{settings}"
    found = browser.post("/api/gallery/read", content=png(parameters=text)).json()

    assert (found["prompt"], found["seed"], found["base_model"]) == ("a boat", "18446744073709551615", "tiny-flux")
    assert found["missing_loras"] == ["unheard-of"]
    refused = browser.post("/api/gallery/read", content=png())
    assert (refused.status_code, "doesn't say" in refused.json()["error"]) == (400, True)


def test_an_index_serves_nobody_elses_pictures(browser: TestClient, past: Past, storage: Storage) -> None:
    record = past.picture("somebody else's")
    theirs = ImageKeys("bob", record.id)
    storage.outputs.put_message(theirs.record, record.model_copy(update={"owner": "bob"}))
    storage.outputs.delete([ImageKeys(LOCAL_OWNER, record.id).record])

    assert browser.get("/api/gallery", params={"q": "somebody"}).json()["pictures"] == []
    assert browser.get(f"/api/gallery/{record.id}").status_code == 404
