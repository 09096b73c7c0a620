"""Captions by a vision model: real storage, and a server at the far end that answers as such models do."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from pydantic import SecretStr

from backend.contract import Dataset
from backend.datasets.captioner import Captioner
from backend.datasets.datasets import Datasets
from backend.datasets.intake import Upload
from backend.errors import HubError, InvalidRequest
from backend.pictures import Limits
from backend.settings import Settings
from backend.storage import Storage


class VisionServer:
    """Says what colour a picture is, in the shape of OpenAI's API."""

    def __init__(self) -> None:
        self.status = 200
        self.sizes: list[tuple[int, int]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                picture, asked = body["messages"][0]["content"]
                assert self.path == "/v1/chat/completions"
                assert "one sentence" in asked["text"]
                data = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
                image = Image.open(io.BytesIO(data)).convert("RGB")
                server.sizes.append(image.size)
                pixel = image.getpixel((0, 0))
                said = '"a red field"\n' if pixel[0] > pixel[2] else "a blue field"
                message = {"role": "assistant", "content": said}
                choice = {"index": 0, "finish_reason": "stop", "message": message}
                reply = {"id": "1", "created": 1, "model": body["model"], "choices": [choice], "usage": {},
                         "system_fingerprint": ""}  # fmt: skip
                content = json.dumps(reply if server.status == 200 else {"error": "no"}).encode()
                self.send_response(server.status)
                for key, value in {"Content-Length": str(len(content)), "Content-Type": "application/json"}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def vision() -> Iterator[VisionServer]:
    server = VisionServer()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def datasets(storage: Storage, storage_settings: Settings) -> Datasets:
    return Datasets(storage, Limits.of(storage_settings))


@pytest.fixture
def dataset(datasets: Datasets, owner: str, tmp_path: Path) -> Dataset:
    made = datasets.create(owner, "Fields")
    for colour, side in (("red", 2000), ("blue", 100)):
        Image.new("RGB", (side, 80), colour).save(tmp_path / f"{colour}.png")
        datasets.add(owner, made.id, Upload(f"{colour}.png", tmp_path / f"{colour}.png"))
    return datasets.get(owner, made.id)


@pytest.fixture
def captioner(datasets: Datasets, storage_settings: Settings, vision: VisionServer) -> Captioner:
    url = f"http://127.0.0.1:{vision.http.server_port}/v1"
    return Captioner(storage_settings.model_copy(update={"atelier_caption_url": url, "hf_token": None}), datasets)


def captions(datasets: Datasets, dataset: Dataset) -> dict[str, str]:
    return {image.name: image.caption for image in datasets.get(dataset.owner, dataset.id).images}


def test_a_description_is_kept_where_there_was_none(
    captioner: Captioner, datasets: Datasets, dataset: Dataset, vision: VisionServer
) -> None:
    blue, red = dataset.images
    assert captioner.caption(dataset.owner, dataset.id, red.sha256) == "a red field"
    assert captions(datasets, dataset) == {"blue.png": "", "red.png": "a red field"}
    datasets.set_captions(dataset.owner, dataset.id, {blue.sha256: "my own words"})
    assert captioner.caption(dataset.owner, dataset.id, blue.sha256) == "my own words"
    assert captions(datasets, dataset) == {"blue.png": "my own words", "red.png": "a red field"}
    assert vision.sizes == [(1024, 41), (100, 80)]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "doesn't accept HF_TOKEN"),
        (402, "inference credits"),
        (404, "ATELIER_CAPTION_MODEL"),
        (500, "an error"),
    ],
)
def test_what_the_far_end_refuses_is_said_and_nothing_is_kept(
    captioner: Captioner, datasets: Datasets, dataset: Dataset, vision: VisionServer, status: int, sentence: str
) -> None:
    vision.status = status
    with pytest.raises(HubError, match=sentence):
        captioner.caption(dataset.owner, dataset.id, dataset.images[0].sha256)
    assert set(captions(datasets, dataset).values()) == {""}


def test_without_a_token_it_says_what_is_missing(
    storage_settings: Settings, datasets: Datasets, dataset: Dataset
) -> None:
    captioner = Captioner(storage_settings.model_copy(update={"hf_token": None}), datasets)
    assert "HF_TOKEN" in captioner.missing
    with pytest.raises(InvalidRequest, match="HF_TOKEN"):
        captioner.caption(dataset.owner, dataset.id, dataset.images[0].sha256)


def test_a_studio_open_to_everybody_writes_none_on_its_owners_account(
    storage_settings: Settings, datasets: Datasets, dataset: Dataset, vision: VisionServer
) -> None:
    captioner = Captioner(storage_settings.model_copy(update={"public": True, "hf_token": SecretStr("hf_x")}), datasets)
    with pytest.raises(InvalidRequest, match="off in a public studio"):
        captioner.caption(dataset.owner, dataset.id, dataset.images[0].sha256)
    assert vision.sizes == []
