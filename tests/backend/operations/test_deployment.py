"""`atelier deploy` against a server shaped like RunPod's API: plan, agree, do, and do again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.deploying import deploy
from backend.errors import AtelierError
from backend.operations.declaration import DECLARATION
from backend.settings import Settings
from tests.backend.runpod_api import KEY, Failure, RunPodApi

SECRET = "the-secret-of-this-test"
TRAINING = "lora-atelier-training"


@pytest.fixture
def api() -> Iterator[RunPodApi]:
    with RunPodApi() as api:
        yield api


def given(api: RunPodApi, **changes: str) -> Settings:
    values = {
        "runpod_account_url": api.address, "runpod_api_key": KEY, "dockerhub_username": "somebody",
        "r2_account_id": "account", "r2_access_key_id": "access-key-id", "r2_secret_access_key": SECRET,
        "hf_token": "hf_of-this-test",
    }  # fmt: skip
    return Settings.model_validate(values | changes)


def run(api: RunPodApi, declaration: Path = DECLARATION, *, agreed: bool = True, **changes: str) -> None:
    deploy(given(api, **changes), declaration, lambda: agreed)


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = DECLARATION.read_text()
    assert old in text
    path = tmp_path / "deploy.toml"
    path.write_text(text.replace(old, new))
    return path


def test_an_empty_account_gets_everything(api: RunPodApi, capsys: pytest.CaptureFixture[str]) -> None:
    run(api)

    said = capsys.readouterr().out
    training = api.named("serverless", TRAINING)
    volume = api.named("network-volumes", "lora-atelier")
    assert volume["size"] == 100
    assert training["workers"] == {"min": 0, "max": 1, "idleTimeout": 5}
    assert training["networkVolumes"] == [volume["id"]]
    assert training["image"] == "somebody/flux-exp-trainer:latest"
    assert training["env"]["R2_SECRET_ACCESS_KEY"] == SECRET
    assert training["env"]["PREFETCH_MODELS"] == "flux1-dev"
    assert training["timeout"] == 86_400_000
    assert f"RUNPOD_TRAINING_ENDPOINT_ID={training['id']}" in said
    assert "R2_SECRET_ACCESS_KEY" in said


def test_no_secret_is_printed(api: RunPodApi, capsys: pytest.CaptureFixture[str]) -> None:
    run(api)
    run(api, r2_secret_access_key="another-secret-of-this-test")

    said = capsys.readouterr().out
    for secret in (SECRET, "another-secret", KEY, "hf_of-this-test", "access-key-id"):
        assert secret not in said
    assert "env R2_SECRET_ACCESS_KEY: another value → set" in said


def test_running_it_twice_changes_nothing(api: RunPodApi, capsys: pytest.CaptureFixture[str]) -> None:
    run(api)
    done = len(api.changes)
    capsys.readouterr()
    run(api, agreed=False)

    said = capsys.readouterr().out
    assert len(api.changes) == done
    assert "Everything is as declared." in said
    assert "RUNPOD_TRAINING_ENDPOINT_ID=s1" in said


def test_nothing_happens_until_somebody_agrees(api: RunPodApi, capsys: pytest.CaptureFixture[str]) -> None:
    run(api, agreed=False)

    assert api.changes == []
    assert "+ make   training endpoint" in capsys.readouterr().out


def test_an_edit_changes_that_alone(api: RunPodApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(api)
    done = len(api.changes)
    run(api, edited(tmp_path, "workers_max = 2", "workers_max = 5"))

    workers = {"min": 0, "max": 5, "idleTimeout": 30}
    assert api.changes[done:] == [("PATCH", "serverless/s2", {"workers": workers})]
    assert "workers: min 0, max 2, idleTimeout 30 → min 0, max 5, idleTimeout 30" in capsys.readouterr().out


def test_what_somebody_added_by_hand_stays(api: RunPodApi) -> None:
    run(api)
    api.named("serverless", TRAINING)["env"] = {"MINE": "1", "R2_ACCOUNT_ID": "old"}
    run(api)

    assert api.named("serverless", TRAINING)["env"]["MINE"] == "1"
    assert api.named("serverless", TRAINING)["env"]["R2_ACCOUNT_ID"] == "account"


def test_what_failed_half_way_is_finished_by_running_it_again(api: RunPodApi) -> None:
    api.failures.append(Failure("POST", "serverless", 400, "You have reached your limit of 5 endpoints."))
    with pytest.raises(AtelierError, match=r"training endpoint: .*limit of 5 endpoints.*Run it again to finish"):
        run(api)
    made = {kind: len(things) for kind, things in api.things.items()}
    run(api)

    assert made == {"network-volumes": 1, "templates": 2, "serverless": 0}
    assert {kind: len(things) for kind, things in api.things.items()} == made | {"serverless": 2}


def test_an_answer_that_is_lost_makes_nothing_twice(api: RunPodApi) -> None:
    api.failures.append(Failure("POST", "network-volumes", 0, after_doing=True))
    with pytest.raises(AtelierError, match="network volume: RunPod is not responding"):
        run(api)
    run(api)

    assert len(api.things["network-volumes"]) == 1


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Failure("GET", "catalog/gpus", 401, "invalid bearer token"), "does not know this key.*RUNPOD_API_KEY"),
        (Failure("GET", "catalog/gpus", 403, "read only"), "may not do that: read only"),
        (Failure("POST", "network-volumes", 402, "balance too low"), "asks for money first: balance too low"),
        (Failure("POST", "templates", 400, "Template name must be unique."), "template: .*name must be unique"),
        (Failure("POST", "network-volumes", 503, "maintenance"), "in trouble .503.: maintenance"),
    ],
)
def test_what_runpod_refuses_is_said_in_words(api: RunPodApi, failure: Failure, words: str) -> None:
    api.failures.append(failure)
    with pytest.raises(AtelierError, match=words):
        run(api)


def test_a_key_of_another_account_is_told_apart_from_none(api: RunPodApi) -> None:
    with pytest.raises(AtelierError, match="does not know this key"):
        run(api, runpod_api_key="rpa_another")
    with pytest.raises(AtelierError, match="RUNPOD_API_KEY is not set"):
        run(api, runpod_api_key="")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('data_center = "EU-RO-1"', 'data_center = "XX-1"', "None of ADA_24, .* can be had in XX-1"),
        ('"ADA_24"', '"AMPERE_16"', "AMPERE_16 has 16 GB"),
        ('"ADA_24"', '"ADA_25"', "no pool ADA_25.*It has ADA_24"),
        ("disk_gb = 30", "disc_gb = 30", r"deploy.toml: training\.\w+"),
        ("size_gb = 100", "size_gb = 60", "take about 67 GB, and the volume has 60 GB"),
        ('"flux1-dev"', '"flux1-dev,flux9"', r"training.environment. PREFETCH_MODELS: there is no base model 'flux9'"),
    ],
)
def test_what_cannot_be_is_named_with_its_field(api: RunPodApi, tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(AtelierError, match=words):
        run(api, edited(tmp_path, old, new))
    assert api.changes == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("size_gb = 100", "size_gb = 80", "can't shrink to 80 GB"), ('"EU-RO-1"', '"US-TX-3"', "can't be moved")],
)
def test_a_volume_neither_shrinks_nor_moves(api: RunPodApi, tmp_path: Path, old: str, new: str, words: str) -> None:
    run(api)
    with pytest.raises(AtelierError, match=words):
        run(api, edited(tmp_path, old, new))


def test_two_of_one_name_are_not_guessed_between(api: RunPodApi) -> None:
    run(api)
    api.things["serverless"]["x"] = api.named("serverless", TRAINING) | {"id": "x", "name": f"{TRAINING} -fb"}
    with pytest.raises(AtelierError, match="2 of the name"):
        run(api)


def test_what_the_workers_need_is_asked_for_at_once(api: RunPodApi) -> None:
    with pytest.raises(AtelierError, match="R2_ACCOUNT_ID, R2_SECRET_ACCESS_KEY"):
        run(api, r2_account_id="", r2_secret_access_key="")
    with pytest.raises(AtelierError, match="DOCKERHUB_USERNAME"):
        run(api, dockerhub_username="")
