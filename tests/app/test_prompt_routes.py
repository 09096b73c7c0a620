"""What the Generate form sends beside a press: start pictures, styles and lists."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

SAMPLE = Path(__file__).parents[2] / "assets" / "sample_dataset" / "00.png"


def test_a_start_picture_is_answered_with_how_to_show_and_name_it(browser: TestClient) -> None:
    reply = browser.post("/api/start-pictures", params={"name": "robot.png"}, content=SAMPLE.read_bytes())

    taken = reply.json()
    assert (taken["width"], taken["height"]) == (256, 256)
    assert taken["key"].startswith("starts/local/")
    assert browser.get(taken["url"]).headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(("name", "status"), [("../../x.png", 400), ("", 400), ("x\n.png", 400), ("x" * 600, 400)])
def test_a_start_picture_with_an_impossible_name_is_refused(browser: TestClient, name: str, status: int) -> None:
    reply = browser.post("/api/start-pictures", params={"name": name}, content=SAMPLE.read_bytes())

    assert (reply.status_code, reply.json()["error"][-1]) == (status, ".")


def test_another_sites_page_sends_nothing(browser: TestClient) -> None:
    elsewhere = {"sec-fetch-site": "cross-site"}

    for path in ("/api/start-pictures?name=a.png", "/api/prompt-book/styles", "/api/prompt-book/lists/delete"):
        assert browser.post(path, content=b"{}", headers=elsewhere).status_code == 403


def test_the_book_is_changed_and_answered_whole(browser: TestClient) -> None:
    style = {"name": "<b>Ink</b>", "prompt": "ink: {prompt}", "negative_prompt": "", "replaces": ""}

    assert "<b>Ink</b>" in [
        each["name"] for each in browser.post("/api/prompt-book/styles", json=style).json()["styles"]
    ]
    browser.post("/api/prompt-book/lists", json={"name": "fruit", "words": ["apple"]})
    assert {"name": "fruit", "words": ["apple"]} in browser.get("/api/prompt-book").json()["lists"]
    for kind, name in (("styles", "<b>Ink</b>"), ("lists", "fruit")):
        book = browser.post(f"/api/prompt-book/{kind}/delete", json={"name": name}).json()
        assert name not in [each["name"] for each in book[kind]]


@pytest.mark.parametrize(
    ("path", "message", "why"),
    [
        ("lists", {"name": "Two words", "words": ["x"]}, "The name takes small letters and digits"),
        ("lists", {"name": "a", "words": []}, "The list has 0 entries"),
        ("lists", {"name": "a", "words": "x"}, "'words' is"),
        ("styles", {"name": "", "prompt": "x"}, "The name is empty"),
        ("styles", {"name": "x" * 41, "prompt": "x"}, "The name has 41 characters; the most is 40"),
        ("styles", {"name": "x", "prompt": "x", "owner": "mallory"}, "not a known field"),
    ],
)
def test_what_can_not_be_kept_is_refused_in_words(
    browser: TestClient, path: str, message: dict[str, object], why: str
) -> None:
    reply = browser.post(f"/api/prompt-book/{path}", json=message)

    assert reply.status_code == 400
    assert why.replace("'words'", "The list") in reply.json()["error"]
