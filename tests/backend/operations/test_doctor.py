"""`atelier doctor`: every line is ok or says what to do."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from pydantic import SecretStr

from app.doctor import all_is_well, origin_of
from backend.errors import InvalidRequest
from backend.operations.declaration import load_declaration
from backend.operations.deployment import Deployment
from backend.operations.doctor import examine
from backend.operations.runpod_account import RunPodAccount
from backend.settings import Settings
from tests.backend.runpod_api import KEY, RunPodApi
from tests.backend.runpod_server import RunPodServer
from tests.loopback import LoopbackServer


@pytest.fixture
def api() -> Iterator[RunPodApi]:
    with RunPodApi() as api:
        yield api


@pytest.fixture
def jobs() -> Iterator[RunPodServer]:
    server = RunPodServer()
    yield server
    server.close()


@pytest.fixture
def deployed(api: RunPodApi, jobs: RunPodServer, storage_settings: Settings) -> Settings:
    """A studio as `atelier deploy` leaves it, on the real S3 server."""
    given = {
        "runpod_account_url": api.address, "runpod_base_url": f"http://127.0.0.1:{jobs.http.server_port}/v2",
        "runpod_api_key": KEY, "dockerhub_username": "somebody", "r2_account_id": "account", "hf_token": None,
    }  # fmt: skip
    settings = storage_settings.model_copy(update=Settings.model_validate(given).model_dump(include=given.keys()))
    account = RunPodAccount(settings)
    ids = Deployment(load_declaration(), settings, account).apply(lambda step: None)
    account.close()
    endpoints = {
        "runpod_training_endpoint_id": ids["training endpoint"],
        "runpod_image_generation_endpoint_id": ids["image generation endpoint"],
    }
    return settings.model_copy(update=endpoints)


class Studio(LoopbackServer):
    """What `/readyz` of a studio elsewhere answers."""

    def __init__(self, told: object) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/readyz" else 404)
                self.end_headers()
                self.wfile.write(json.dumps(told).encode() if told else b"<title>Sign in</title>")

            def log_message(self, *_: object) -> None: ...

        super().__init__(Handler)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"ready": False, "missing": 2}, "2 things are missing there. Open it"),
        ({"ready": False, "lora bucket": "not reachable", "output bucket": "ok"}, "From there: lora bucket not reach"),
        (None, "is no studio"),
    ],
)
def test_what_the_studio_itself_says_is_passed_on(deployed: Settings, told: object, words: str) -> None:
    with Studio(told) as studio:
        said = {finding.what: finding.said for finding in examine(deployed, studio.endpoint) if not finding.well}
    assert words in said[f"Studio at {studio.endpoint}"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("me-atelier.hf.space", "https://me-atelier.hf.space"),
        ("https://me-atelier.hf.space/?tab=train", "https://me-atelier.hf.space"),
        ("http://127.0.0.1:7860/", "http://127.0.0.1:7860"),
    ],
)
def test_an_address_is_taken_as_it_is_copied(given: str, meant: str) -> None:
    assert origin_of(given) == meant


def test_the_frame_around_a_space_is_told_from_the_space() -> None:
    with pytest.raises(InvalidRequest, match="Embed this Space"):
        origin_of("https://huggingface.co/spaces/me/atelier")


def todo(settings: Settings) -> dict[str, str]:
    return {finding.what: finding.said for finding in examine(settings) if not finding.well}


def test_what_was_deployed_is_well(deployed: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with Studio({"ready": True, "lora bucket": "ok"}) as studio:
        assert all_is_well(deployed, studio.endpoint)

    said = capsys.readouterr().out
    assert f"ok     Studio at {studio.endpoint}: is up" in said
    assert "ok     Image for training: somebody/flux-exp-trainer:latest" in said
    assert "ok     CORS of" in said
    assert "TO DO" not in said


def test_each_thing_that_is_wrong_is_named(deployed: Settings, api: RunPodApi) -> None:
    api.things["serverless"]["s1"] |= {"image": "somebody/another:latest", "networkVolumes": []}
    wrong = deployed.model_copy(update={"r2_secret_access_key": SecretStr("a wrong one"), "space_id": "me/atelier"})

    said = todo(wrong)
    assert said["Image for training"] == "It runs somebody/another:latest: run `atelier deploy`."
    assert "34 GB" in said["Volume for training"]
    assert "R2_LORA_BUCKET" in said[f"Bucket {deployed.r2_lora_bucket}"]
    assert "long random text" in said["SESSION_SECRET"]


def test_an_endpoint_of_another_account_is_found_out(deployed: Settings) -> None:
    said = todo(deployed.model_copy(update={"runpod_training_endpoint_id": "elsewhere"}))
    assert list(said) == ["Image for training"]


def test_half_set_variables_are_asked_for(deployed: Settings) -> None:
    said = todo(deployed.model_copy(update={"runpod_image_generation_endpoint_id": ""}))
    assert said["RunPod endpoints"].startswith("Set RUNPOD_IMAGE_GENERATION_ENDPOINT_ID: https://")


def test_one_computer_needs_no_keys(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert all_is_well(Settings.model_validate({"atelier_home": tmp_path, "hf_token": None}), "")
    assert "Local machine: installed" in capsys.readouterr().out
