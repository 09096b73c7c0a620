"""The named endpoints, asked as any script would: with gradio_client, over HTTP, behind the door."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from app.session import LOCAL_OWNER
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio
from tests.app.conftest import BASE_MODEL, Past
from tests.app.test_ownership import everything
from tests.served import ServedStudio

PASSWORD = "correct horse battery"
NO_RUN = "image-0000000000000-00000000"


@contextlib.contextmanager
def serving(settings: Settings, password: str = "") -> Iterator[str]:
    """A studio at a free port, in a process of its own, that reaches storage and nothing at RunPod's address."""
    environment = {
        "R2_ENDPOINT_URL": settings.r2_endpoint_url, "R2_ACCESS_KEY_ID": settings.r2_access_key_id,
        "R2_SECRET_ACCESS_KEY": settings.r2_secret_access_key.get_secret_value(),
        "R2_LORA_BUCKET": settings.r2_lora_bucket, "R2_OUTPUT_BUCKET": settings.r2_output_bucket,
        "RUNPOD_BASE_URL": "http://127.0.0.1:9/v2", "RUNPOD_TRAINING_ENDPOINT_ID": "training",
        "ATELIER_PASSWORD": password, "ATELIER_HOME": str(settings.atelier_home / "api"),
    }  # fmt: skip
    with ServedStudio(environment, (sys.executable, "-m", "tests.app.named_studio")) as studio:
        yield studio.url
        studio.kill()


@pytest.fixture(scope="module")
def address(storage_settings: Settings) -> Iterator[str]:
    with serving(storage_settings) as address:
        yield address


@pytest.fixture(scope="module")
def locked_address(storage_settings: Settings) -> Iterator[str]:
    with serving(storage_settings, PASSWORD) as address:
        yield address


def client_of(address: str, person: str) -> Client:
    return Client(address, headers={"x-person": person}, verbose=False)


def test_ones_own_things_are_listed_and_followed(address: str, past: Past, quiet_studio: Studio) -> None:
    training, picture = past.training("Zorbot"), past.picture("a zorbot")
    quiet_studio.gallery.bring_up_to_date(LOCAL_OWNER)
    client = client_of(address, LOCAL_OWNER)

    def listed(what: str) -> Any:
        return client.predict(what, api_name="/list")

    assert training.run_id in {run["run_id"] for run in listed("runs")}
    assert picture.id in {each["image_id"] for each in listed("pictures")}
    assert BASE_MODEL in {each["base_model"] for each in listed("base_models")}
    assert client.predict(training.run_id, api_name="/run_state")["step"] == 140
    dataset_id = client.predict(api_name="/sample_dataset")
    assert {"dataset_id": dataset_id, "name": "Zorbot (sample)", "pictures": 12} in listed("datasets")


@pytest.mark.parametrize(
    ("arguments", "api_name", "sentence"),
    [
        ((NO_RUN,), "/run_state", "There is no run"),
        (("../x",), "/run_state", "There is no such run"),
        (("1" * 13 + "-aaaaaaaa", BASE_MODEL, "Zorbot"), "/train", "This dataset is not there any more"),
        (("x", "flux9"), "/generate", "There is no base model 'flux9'"),
        (("x", BASE_MODEL, [], {"count": 99}), "/generate", "The number of pictures is 99; the most is 8"),
        (("x", BASE_MODEL, [], {"owner": "somebody"}), "/generate", "'owner' is no setting"),
        (("x", BASE_MODEL, [], {"grid_id": "all-my-runs-are-one"}), "/generate", "'grid_id' is no setting"),
        (("x", BASE_MODEL, [], {"stepz": 4}), "/generate", "'stepz' is no setting. Use any of: negative_prompt, width"),
        (("x", BASE_MODEL, [], {"workflow": {"1": {}}}), "/generate", "'workflow' is no setting"),
        (
            ("1" * 13 + "-aaaaaaaa", BASE_MODEL, "Zorbot", "", {"steps": 20_000, "save_every": 1}),
            "/train",
            "would keep 20,000 checkpoints; the most is 200. Save less often.",
        ),
        (("x", BASE_MODEL, [{"key": "loras/somebody/a/b.safetensors"}]), "/generate", "no LoRA of yours"),
        (("secrets",), "/list", "can't be listed"),
    ],
)
def test_what_is_wrong_is_said_as_on_the_page(
    address: str, arguments: tuple[Any, ...], api_name: str, sentence: str
) -> None:
    with pytest.raises(AppError, match=sentence):
        client_of(address, LOCAL_OWNER).predict(*arguments, api_name=api_name)


def test_somebody_else_is_refused_where_the_page_refuses(address: str, past: Past, storage: Storage) -> None:
    training, generation = past.training("Theirs"), past.generation("theirs")
    before = everything(storage)
    stranger = client_of(address, "somebody-new")

    for keys in (training, generation):
        for api_name in ("/run_state", "/cancel"):
            with pytest.raises(AppError, match="There is no run"):
                stranger.predict(keys.run_id, api_name=api_name)
    for what in ("datasets", "runs", "loras", "pictures"):
        assert stranger.predict(what, api_name="/list") == []
    assert everything(storage) == before


def test_nobody_is_answered_without_signing_in(locked_address: str) -> None:
    with pytest.raises(Exception, match="Please login"):
        Client(locked_address, verbose=False)
    signed_in = Client(locked_address, auth=("", PASSWORD), verbose=False)
    assert signed_in.predict("base_models", api_name="/list")
    with pytest.raises(AppError, match="There is no run"):
        signed_in.predict(NO_RUN, api_name="/run_state")


def test_another_sites_page_is_refused(address: str) -> None:
    headers = {"x-person": LOCAL_OWNER}
    config = httpx.get(f"{address}/config", headers=headers).json()
    offered = [each["id"] for each in config["dependencies"] if each["api_visibility"] == "public"]

    assert len(offered) == 6
    for number in offered:
        told = {"fn_index": number, "data": ["datasets"], "session_hash": "s"}
        for path in ("run/predict", "queue/join"):
            sent = headers | {"sec-fetch-site": "cross-site"}
            assert httpx.post(f"{address}/gradio_api/{path}", json=told, headers=sent).status_code == 403
