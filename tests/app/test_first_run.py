"""The page of a studio that isn't set up: what it names, and when it is there at all."""

import re

from starlette.testclient import TestClient

from app.first_run import first_run_app, is_first_run
from backend.base_models import ASSETS
from backend.settings import Settings

BEGUN = {
    "space_id": "me/atelier",
    "oauth_client_id": "client",
    "system": "spaces",
    "runpod_api_key": "rpa_secret-of-this-test",
    "r2_account_id": "account",
}
REST = {
    "runpod_training_endpoint_id": "t",
    "runpod_image_generation_endpoint_id": "i",
    "r2_access_key_id": "key-of-this-test",
    "r2_secret_access_key": "secret",
}


def settings(**changes: str) -> Settings:
    return Settings.model_validate(BEGUN | changes)


def test_the_page_names_what_is_missing_and_no_more() -> None:
    with TestClient(first_run_app(settings())) as browser:
        reply = browser.get("/anything")

    assert reply.status_code == 200
    for name in (
        "RUNPOD_TRAINING_ENDPOINT_ID",
        "R2_SECRET_ACCESS_KEY",
        "https://huggingface.co/spaces/me/atelier/settings",
        "https://huggingface.co/spaces/me/atelier/blob/main/assets/readme/from-zero.md",
    ):
        assert name in reply.text
    for name in ("RUNPOD_API_KEY", "R2_ACCOUNT_ID", "secret-of-this-test", "Sign-in"):
        assert name not in reply.text
    assert "frame-ancestors 'self' https://huggingface.co" in reply.headers["content-security-policy"]


def test_the_guide_it_leads_to_is_there() -> None:
    guide = ASSETS / "readme" / "from-zero.md"
    pictures = re.findall(r"!\[[^\]]+\]\(([\w.-]+)\)", guide.read_text(encoding="utf-8"))
    assert len(pictures) == 3
    assert all((guide.parent / picture).is_file() for picture in pictures)


def test_a_space_without_sign_in_is_told_so() -> None:
    with TestClient(first_run_app(settings(oauth_client_id=""))) as browser:
        assert "hf_oauth: true" in browser.get("/").text


def test_a_host_sees_it_alive_and_not_ready() -> None:
    with TestClient(first_run_app(settings())) as browser:
        assert browser.get("/healthz").status_code == 200
        assert browser.get("/readyz").status_code == 503


def test_it_is_there_only_until_the_studio_can_work() -> None:
    assert is_first_run(settings())
    assert not is_first_run(settings(**REST))
    assert not is_first_run(Settings(space_id="me/atelier")), "with the local machine in its image it is a demo"
    assert not is_first_run(Settings(runpod_api_key="rpa_x")), "on one's own computer it starts the local machine"
