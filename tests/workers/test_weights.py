"""The model cache against a server shaped like the Hub."""

import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import close_session

from backend import hugging_face
from backend.contract import BaseModelSpec
from backend.errors import WeightsError
from backend.settings import Settings
from tests.workers.conftest import FILES
from tests.workers.hub import COMMIT, Hub
from workers import weights_lock
from workers.weights import fetch_weights, main


def test_a_model_is_fetched_once_and_then_found_without_the_hub(
    hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub
) -> None:
    folder = fetch_weights(hub_spec, hub_settings, endpoint=hub.endpoint)
    assert folder == hub_settings.hub_cache / "models--somebody--model" / "snapshots" / COMMIT
    assert (folder / "transformer" / "big.safetensors").read_bytes() == FILES["transformer/big.safetensors"]
    assert not (folder / "README.md").exists()
    assert sorted(hub.served) == ["model_index.json", "transformer/big.safetensors"]
    assert fetch_weights(hub_spec, hub_settings, endpoint="http://127.0.0.1:9") == folder


def test_what_only_training_needs_comes_with_ai_toolkit(
    hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub
) -> None:
    fetch_weights(
        hub_spec, hub_settings.model_copy(update={"atelier_training_engine": "ai_toolkit"}), endpoint=hub.endpoint
    )
    adapter = hub_settings.hub_cache / "models--somebody--adapter"
    # ai-toolkit asks for it by name, offline: the cache has to know what 'main' is.
    assert (adapter / "refs" / "main").read_text() == COMMIT
    assert (adapter / "snapshots" / COMMIT / "adapter.safetensors").read_bytes() == b"adapter"


def test_bytes_are_reported_to_the_last(hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub) -> None:
    heard: list[tuple[str, int, int]] = []
    fetch_weights(hub_spec, hub_settings, lambda *said: heard.append(said), endpoint=hub.endpoint)
    total = len(FILES["model_index.json"]) + len(FILES["transformer/big.safetensors"])
    assert heard[-1] == ("FLUX.1-dev", total, total)


def test_a_file_damaged_on_the_way_is_fetched_again(hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub) -> None:
    hub.damaged = ["transformer/big.safetensors"]
    folder = fetch_weights(hub_spec, hub_settings, endpoint=hub.endpoint)
    assert (folder / "transformer" / "big.safetensors").read_bytes() == FILES["transformer/big.safetensors"]
    assert hub.served.count("transformer/big.safetensors") == 2


def test_a_file_that_stays_damaged_is_named(hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub) -> None:
    hub.damaged = ["transformer/big.safetensors"] * 9
    with pytest.raises(WeightsError, match=r"transformer/big\.safetensors of somebody/model arrived damaged twice"):
        fetch_weights(hub_spec, hub_settings, endpoint=hub.endpoint)
    hub.damaged = []
    fetch_weights(hub_spec, hub_settings, endpoint=hub.endpoint)


@pytest.mark.parametrize("damage", ["cut", "gone", "unmarked and bent", "marker bent"])
def test_a_damaged_cache_is_repaired(hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub, damage: str) -> None:
    folder = fetch_weights(hub_spec, hub_settings, endpoint=hub.endpoint)
    big = folder / "transformer" / "big.safetensors"
    (marker,) = folder.parents[1].glob("verified-*.json")
    if damage == "cut":
        big.resolve().write_bytes(b"cut")
    elif damage == "gone":
        big.resolve().unlink()
    elif damage == "unmarked and bent":  # a crash before the marker: the size is right, the content isn't
        marker.unlink()
        big.resolve().write_bytes(bytes(len(FILES["transformer/big.safetensors"])))
    else:
        marker.write_text("{")
    assert fetch_weights(hub_spec, hub_settings, endpoint=hub.endpoint) == folder
    assert big.read_bytes() == FILES["transformer/big.safetensors"]
    assert hub.served.count("model_index.json") == 1
    assert hub.served.count("transformer/big.safetensors") == (1 if damage == "marker bent" else 2)


def test_a_gated_repository_says_what_to_do_before_anything_is_downloaded(
    hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub
) -> None:
    hub.gated.add("somebody/model")
    with pytest.raises(WeightsError, match=r"may not be downloaded.*Accept its licence at https://.*HF_TOKEN"):
        fetch_weights(hub_spec, hub_settings, endpoint=hub.endpoint)
    assert not hub.served
    assert hub.tokens == {""}


def test_only_the_token_of_the_settings_is_sent(hub_spec: BaseModelSpec, tmp_path: Path, hub: Hub) -> None:
    settings = Settings.model_validate({"atelier_volume": tmp_path, "hf_token": "hf_mine"})
    fetch_weights(hub_spec, settings, endpoint=hub.endpoint)
    assert hub.tokens == {"Bearer hf_mine"}


def test_an_unknown_repository_and_a_silent_hub_are_told_in_words(
    hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub
) -> None:
    elsewhere = hub_spec.model_copy(update={"weights": hub_spec.weights.model_copy(update={"repo": "somebody/else"})})
    with pytest.raises(WeightsError, match="may not be downloaded from somebody/else"):
        fetch_weights(elsewhere, hub_settings, endpoint=hub.endpoint)
    with pytest.raises(WeightsError, match="could not be downloaded"):
        fetch_weights(hub_spec, hub_settings, endpoint="http://127.0.0.1:9")


def test_a_companion_that_may_not_be_had_is_the_one_that_is_named(
    hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub
) -> None:
    trainer = hub_settings.model_copy(update={"atelier_training_engine": "ai_toolkit"})
    hub.gated.add("somebody/adapter")
    with pytest.raises(WeightsError, match=r"somebody/adapter may not be downloaded.*huggingface\.co/somebody/adapter"):
        fetch_weights(hub_spec, trainer, endpoint=hub.endpoint)


def test_a_hub_that_takes_a_call_and_says_nothing_is_given_up_on(
    hub_spec: BaseModelSpec, hub_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hugging_face, "SILENT_S", 0.3)
    close_session()  # the next one is made with that patience
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(WeightsError, match="could not be downloaded"),
    ):
        fetch_weights(hub_spec, hub_settings, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
    close_session()


def test_a_disk_too_small_is_said_before_the_download(
    hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=2**30 + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)  # the disk is the far end
    with pytest.raises(WeightsError, match=r"somebody/model needs 0\.0 GB.*Make the network volume"):
        fetch_weights(hub_spec, hub_settings, endpoint=hub.endpoint)
    assert not hub.served


def test_patterns_that_fit_nothing_are_refused(hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub) -> None:
    lost = hub_spec.model_copy(update={"weights": hub_spec.weights.model_copy(update={"include": ["*.ckpt"]})})
    with pytest.raises(WeightsError, match=r"has none of: \*\.ckpt"):
        fetch_weights(lost, hub_settings, endpoint=hub.endpoint)


_HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_a_holder_that_crashed_gives_the_lock_back(
    hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_lock, "LOOK_EVERY_S", 0.05)
    lock = hub_settings.hub_cache / "models--somebody--model" / "fetching.lock"
    lock.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", _HOLDER, lock], stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        fetching = threading.Thread(
            target=fetch_weights, args=(hub_spec, hub_settings), kwargs={"endpoint": hub.endpoint}
        )
        fetching.start()
        time.sleep(0.3)
        assert not hub.served
        holder.kill()
        fetching.join(timeout=20)
    assert len(hub.served) == 2


def test_two_workers_fetch_it_once(hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub) -> None:
    both = [
        threading.Thread(target=fetch_weights, args=(hub_spec, hub_settings), kwargs={"endpoint": hub.endpoint})
        for _ in range(2)
    ]
    for each in both:
        each.start()
    for each in both:
        each.join(timeout=20)
    assert len(hub.served) == 2


def test_the_command_says_how_many_could_not_be_fetched() -> None:
    assert main(["tiny-flux", "no-such-model"]) == 1
