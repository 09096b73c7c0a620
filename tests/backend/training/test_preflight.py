"""What stands in the way of a training before anybody is asked: the engine, the settings, this computer's memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from backend.base_models import load_base_model
from backend.errors import BaseModelRejected, InvalidRequest
from backend.runs.runpod_client import Endpoint
from backend.settings import Settings
from backend.storage import Storage
from backend.training.preflight import Preflight

Make = Callable[..., Preflight]


@pytest.fixture
def make() -> Iterator[Make]:
    made = []

    def make(*, local: bool, engine: Literal["diffusers", "ai_toolkit"] = "diffusers") -> Preflight:
        nowhere = Settings(
            r2_endpoint_url="http://127.0.0.1:9",
            runpod_base_url="http://127.0.0.1:9",
            atelier_training_engine=engine,
        )
        made.append(Preflight(Storage(nowhere), Endpoint(nowhere, "t", "training"), nowhere, local=local))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("local", "engine", "base_model", "said"),
    [
        (True, "diffusers", "tiny-flux", ""),
        (True, "diffusers", "sdxl", "Stable Diffusion XL can't be trained here"),
        (True, "ai_toolkit", "sdxl", ""),
        (True, "ai_toolkit", "tiny-flux", "Tiny FLUX can't be trained with ai-toolkit"),
        (False, "diffusers", "sdxl", ""),  # the endpoint has ai-toolkit, whatever trains here
        (False, "diffusers", "tiny-flux", "its model.toml has no [ai_toolkit] block. Choose another base model"),
    ],
)
def test_who_trains_decides_which_base_models_can_be_trained(
    make: Make, local: bool, engine: str, base_model: str, said: str
) -> None:
    found = make(local=local, engine=engine).obstacle(load_base_model(base_model))
    assert said in str(found or "")
    assert bool(found) is bool(said)


def test_a_misspelt_option_of_a_folder_of_one_s_own_is_named(make: Make) -> None:
    spec = load_base_model("tiny-flux").model_copy(update={"id": "mine", "diffusers": {"guidence": 1}})
    assert "mine/model.toml, [diffusers]: 'guidence' is not a known field" in str(make(local=True).obstacle(spec))


def test_without_a_gpu_a_base_model_larger_than_the_memory_is_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = load_base_model("flux1-dev")
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = spec.model_copy(update={"weights": spec.weights.model_copy(update={"bytes": 10**15})})
    assert "FLUX.1-dev takes 1000000 GB of memory to train; this computer has" in str(make(local=True).obstacle(spec))
    assert not make(local=True, engine="ai_toolkit").obstacle(spec)
    assert not make(local=False).obstacle(spec)
    driver = tmp_path / "nvidia-smi"
    driver.touch()
    driver.chmod(0o755)
    assert not make(local=True).obstacle(spec)


def test_what_can_t_be_trained_is_said_before_anybody_is_asked(make: Make) -> None:
    sdxl, flux = load_base_model("sdxl"), load_base_model("flux1-dev")
    with pytest.raises(BaseModelRejected, match="can't be trained here"):
        make(local=True).check(sdxl, sdxl.training)
    preserving = flux.training.model_copy(update={"prior_preservation": True})
    with pytest.raises(InvalidRequest, match="'prior_preservation' is on, but FLUX"):
        make(local=False).check(flux, preserving)
