"""Datasets over the routes that the page's scripts use."""

import io
import zipfile
from pathlib import Path

import pytest
from starlette.testclient import TestClient

ONE = "/api/datasets/{}"


@pytest.fixture
def dataset_id(browser: TestClient) -> str:
    made = browser.post("/api/datasets", json={"name": "Mine"})
    return str(made.json()["dataset_id"])


def send(browser: TestClient, dataset_id: str, name: str, data: bytes) -> dict[str, object]:
    reply = browser.post(f"/api/datasets/{dataset_id}/files", params={"name": name}, content=data)
    assert reply.status_code == 200, reply.text
    found: dict[str, object] = reply.json()
    return found


def pictures(browser: TestClient, dataset_id: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = browser.get(f"/api/datasets/{dataset_id}").json()["pictures"]
    return found


def test_files_come_one_by_one_and_stay(browser: TestClient, dataset_id: str, sample_pictures: list[Path]) -> None:
    data = sample_pictures[0].read_bytes()

    first = send(browser, dataset_id, "folder/00.png", data)
    again = send(browser, dataset_id, "folder/00.png", data)
    caption = send(browser, dataset_id, "folder/00.txt", b"a <b>caption</b>")
    bad = send(browser, dataset_id, "fake.png", b"no picture")

    assert (first["added"], again["merged"], caption["captions"]) == (1, 1, 1)
    assert [refusal["name"] for refusal in bad["refused"]] == ["fake.png"]  # type: ignore[attr-defined]
    (picture,) = pictures(browser, dataset_id)
    assert (picture["name"], picture["caption"]) == ("folder/00.png", "a <b>caption</b>")
    assert browser.get(str(picture["thumb"])).headers["content-type"] == "image/webp"
    whole = browser.get(f"/api/datasets/{dataset_id}/pictures/{picture['sha256']}")
    assert (whole.headers["content-type"], whole.content[:4]) == ("image/png", b"\x89PNG")
    assert browser.get(f"/api/datasets/{dataset_id}/pictures/{'0' * 64}").status_code == 404


def test_a_caption_is_kept_under_its_picture(browser: TestClient, dataset_id: str, sample_pictures: list[Path]) -> None:
    for path in sample_pictures[:2]:
        send(browser, dataset_id, path.name, path.read_bytes())
    second = pictures(browser, dataset_id)[1]

    saved = browser.post(f"/api/datasets/{dataset_id}/captions", json={"captions": {second["sha256"]: "typed"}})

    assert saved.status_code == 204
    assert [picture["caption"] for picture in pictures(browser, dataset_id)] == ["", "typed"]


def test_a_dataset_is_renamed_duplicated_emptied_and_deleted(
    browser: TestClient, dataset_id: str, sample_pictures: list[Path]
) -> None:
    for path in sample_pictures[:2]:
        send(browser, dataset_id, path.name, path.read_bytes())
    one = ONE.format(dataset_id)

    assert browser.post(f"{one}/rename", json={"name": "Robots"}).status_code == 204
    copy = browser.post(f"{one}/duplicate").json()
    hashes = [picture["sha256"] for picture in pictures(browser, dataset_id)]
    assert browser.post(f"{one}/remove", json={"pictures": hashes[:1]}).status_code == 204
    assert len(pictures(browser, dataset_id)) == 1
    assert browser.get(f"{one}/removal").json()["pictures"] == 1
    assert browser.post(f"{one}/delete").status_code == 204
    assert browser.get(one).status_code == 404
    assert copy["name"] == "Robots (copy)"
    assert len(pictures(browser, copy["dataset_id"])) == 2
    names = [row["name"] for row in browser.get("/api/datasets").json()["datasets"]]
    assert "Robots (copy)" in names
    assert "Robots" not in names


def test_a_download_holds_pictures_and_captions(
    browser: TestClient, dataset_id: str, sample_pictures: list[Path]
) -> None:
    send(browser, dataset_id, "a/one.png", sample_pictures[0].read_bytes())
    send(browser, dataset_id, "b/one.png", sample_pictures[1].read_bytes())
    send(browser, dataset_id, "a/one.txt", b"first")

    reply = browser.get(f"/api/datasets/{dataset_id}/download")

    assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''Mine.zip"
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["one.png", "one.txt", "one-2.png"]
        assert archive.read("one.txt") == b"first"
        assert archive.read("one-2.png") == sample_pictures[1].read_bytes()


@pytest.mark.parametrize("name", ["", "../x.png", "a/../../x.png", "x\x00.png", "x" * 600 + ".png"])
def test_a_name_that_leads_elsewhere_is_refused(browser: TestClient, dataset_id: str, name: str) -> None:
    reply = browser.post(f"/api/datasets/{dataset_id}/files", params={"name": name}, content=b"x")

    assert (reply.status_code, reply.json()) == (
        400,
        {"error": "This file's name can't be used. Rename it and send it again."},
    )


def test_too_much_is_refused_while_it_comes(browser: TestClient, dataset_id: str) -> None:
    endless = (b"\0" * 2**20 for _ in range(101))

    reply = browser.post(f"/api/datasets/{dataset_id}/files", params={"name": "x.png"}, content=endless)

    assert (reply.status_code, reply.json()["error"]) == (400, "It is over 100 MB. Send less at a time.")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("captions", b"nonsense"),
        ("captions", b'{"captions": {"../x": "y"}}'),
        ("captions", b'{"captions": {}, "more": 1}'),
        ("rename", b'{"name": "a/b"}'),
        ("remove", b'{"pictures": ["x"]}'),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(browser: TestClient, dataset_id: str, path: str, body: bytes) -> None:
    reply = browser.post(f"/api/datasets/{dataset_id}/{path}", content=body)

    assert reply.status_code == 400
    assert reply.json()["error"].endswith(".")


def test_another_sites_page_can_send_nothing(browser: TestClient, dataset_id: str) -> None:
    elsewhere = {"sec-fetch-site": "cross-site"}
    for path in ("files?name=x.png", "captions", "delete", "duplicate"):
        assert browser.post(f"/api/datasets/{dataset_id}/{path}", content=b"{}", headers=elsewhere).status_code == 403
    assert browser.get(f"/api/datasets/{dataset_id}").status_code == 200
