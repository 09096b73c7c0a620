"""The LoRAs as the page asks for them, sends them and changes them."""

from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from app.door import Door
from app.routes import routes
from app.session import LOCAL_OWNER
from app.sign_in import Loopback
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio
from tests.app.conftest import Past

LAYER = "transformer.single_transformer_blocks.0.attn.to_q"


def lora_bytes(seed: int, hidden: int = 256) -> bytes:
    random = numpy.random.default_rng(seed)
    sides = {"lora_A": (4, hidden), "lora_B": (hidden, 4)}
    tensors = {f"{LAYER}.{side}.weight": random.normal(size=shape).astype("float32") for side, shape in sides.items()}
    return bytes(save(tensors, metadata={"modelspec.trigger_phrase": "t0y"}))


@pytest.fixture
def lora_id(browser: TestClient) -> str:
    reply = browser.post("/api/loras/files", params={"name": "Toy.safetensors"}, content=lora_bytes(1))
    assert reply.status_code == 200
    return str(reply.json()["lora"]["lora_id"])


def test_a_lora_from_elsewhere_is_kept_renamed_and_deleted(browser: TestClient, lora_id: str) -> None:
    library = browser.get("/api/loras/library").json()
    card = next(lora for lora in library["loras"] if lora["lora_id"] == lora_id)
    assert (card["name"], card["trigger_word"], card["base_model"], card["run_id"]) == ("Toy", "t0y", "Tiny FLUX", "")
    assert card["download"].endswith("/Toy.safetensors?download=Toy.safetensors")
    assert browser.get("/api/loras/library", params={"since": library["version"]}).status_code == 204

    said = {"name": "My robot", "note": "best at 0.8", "tags": ["toy"]}
    renamed = browser.post(f"/api/loras/{lora_id}/label", json=said).json()
    assert (renamed["name"], renamed["key"]) == ("My robot", card["key"])
    assert renamed["download"].endswith("?download=My-robot.safetensors")
    assert browser.get("/api/loras/library", params={"since": library["version"]}).status_code == 200
    assert "My robot" in [lora["name"] for lora in browser.get("/api/loras").json()["loras"]]

    assert browser.get(f"/api/loras/{lora_id}/removal").json() == {"bytes": len(lora_bytes(1)), "checkpoints": 0}
    assert browser.post(f"/api/loras/{lora_id}/delete").status_code == 204
    assert browser.get(f"/api/loras/{lora_id}").status_code == 404
    assert browser.get(f"/media/loras/{card['key']}").status_code == 404


def test_the_same_file_is_there_once(browser: TestClient, lora_id: str) -> None:
    again = browser.post("/api/loras/files", params={"name": "Other.safetensors"}, content=lora_bytes(1)).json()
    assert (again["new"], again["lora"]["lora_id"]) == (False, lora_id)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.safetensors", b"", "'x' is damaged, cut short or not a .safetensors file"),
        ("x.safetensors", b"\xff" * 100, "'x' is damaged"),
        ("x.safetensors", lora_bytes(1)[:-1], "'x' is damaged"),
        ("x.safetensors", lora_bytes(1, hidden=99), "doesn't know. Its first layer is"),
        ("x.ckpt", lora_bytes(1), "x.ckpt isn't a .safetensors file."),
        ("../x.safetensors", lora_bytes(1), "name can't be used"),
        ("", lora_bytes(1), "name can't be used"),
    ],
)
def test_what_is_no_lora_is_refused_in_words(
    browser: TestClient, storage: Storage, name: str, data: bytes, said: str
) -> None:
    before = [stored.key for stored in storage.loras.list_all(f"loras/{LOCAL_OWNER}/")]
    reply = browser.post("/api/loras/files", params={"name": name}, content=data)
    assert reply.status_code == 400
    assert said in reply.json()["error"]
    assert [stored.key for stored in storage.loras.list_all(f"loras/{LOCAL_OWNER}/")] == before


def test_a_file_over_the_limit_is_refused_before_it_is_looked_at(storage_settings: Settings) -> None:
    studio = Studio.connect(storage_settings.model_copy(update={"max_lora_bytes": 2**20}))
    app = Starlette(routes=routes(studio), middleware=[Middleware(Door, sign_in=Loopback())])
    with TestClient(app, base_url="http://127.0.0.1:7860", headers={"sec-fetch-site": "same-origin"}) as client:
        reply = client.post("/api/loras/files", params={"name": "x.safetensors"}, content=b"x" * (2**20 + 1))
    studio.close()
    assert (reply.status_code, reply.json()["error"][:15]) == (400, "It is over 1 MB")


def test_checkpoints_are_compared_and_promoted(browser: TestClient, past: Past, storage: Storage) -> None:
    run = past.training("Compared")
    storage.loras.put(run.checkpoint("zorbot", 100), b"ten bytes.", metadata={"sha256": "a" * 64})
    storage.loras.put(run.sample(0, 0), sample_picture())

    makings = browser.get("/api/loras/library").json()["makings"]
    compared = browser.get(f"/api/loras/runs/{run.run_id}").json()
    promoted = browser.post("/api/loras/promote", json={"run_id": run.run_id, "step": 100}).json()

    assert run.run_id in [making["run_id"] for making in makings]
    assert [each["step"] for each in compared["checkpoints"]] == [100]
    assert compared["samples"][0]["url"] == f"/media/loras/{run.sample(0, 0)}"
    assert (promoted["name"], promoted["steps"], promoted["run_id"]) == ("Compared step 100", 100, run.run_id)
    shown = browser.post(f"/api/loras/{promoted['lora_id']}/thumb", json={"sample_key": run.sample(0, 0)}).json()
    assert browser.get(shown["thumb"]).headers["content-type"] == "image/webp"
    assert browser.post("/api/loras/promote", json={"run_id": run.run_id, "step": 7}).status_code == 404


@pytest.mark.parametrize(
    "lora_id", ["x", "import-1", "..%2f..", "train-1234567890123-12345678-x", "import-" + "a" * 32]
)
@pytest.mark.parametrize("what", ["", "/pictures", "/removal", "/publish"])
def test_an_impossible_lora_is_not_found(browser: TestClient, lora_id: str, what: str) -> None:
    assert browser.get(f"/api/loras/{lora_id}{what}").status_code == 404


@pytest.mark.parametrize("said", [{"name": "a/b", "note": "", "tags": []}, {"name": "x"}, {"name": 1}, []])
def test_a_label_that_cannot_be_is_refused(browser: TestClient, lora_id: str, said: object) -> None:
    assert browser.post(f"/api/loras/{lora_id}/label", json=said).status_code == 400


def test_without_a_token_publishing_says_what_is_missing(browser: TestClient, lora_id: str) -> None:
    assert "Set HF_TOKEN" in browser.get("/api/loras/library").json()["publish_missing"]
    for what in ("preview", "publish"):
        reply = browser.post(f"/api/loras/{lora_id}/{what}", json={})
        assert reply.status_code == 403
        assert "Set HF_TOKEN" in reply.json()["error"]


def sample_picture() -> bytes:
    return (Path(__file__).parents[2] / "assets" / "sample_dataset" / "00.png").read_bytes()
