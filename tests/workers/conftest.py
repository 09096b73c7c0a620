"""A base model on a server shaped like the Hub, and a volume without it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.base_models import load_base_model
from backend.contract import BaseModelSpec, Companion
from backend.settings import Settings
from tests.workers.hub import Hub

FILES = {
    "model_index.json": b"{}",
    "transformer/big.safetensors": bytes(range(256)) * 4000,
    "README.md": b"not wanted",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub({"somebody/model": dict(FILES), "somebody/adapter": {"adapter.safetensors": b"adapter"}}) as hub:
        yield hub


@pytest.fixture
def hub_settings(tmp_path: Path) -> Settings:
    return Settings(atelier_volume=tmp_path / "volume")


@pytest.fixture
def hub_spec() -> BaseModelSpec:
    flux = load_base_model("flux1-dev")
    changes = {
        "repo": "somebody/model",
        "revision": "main",
        "include": ["*.json", "transformer/*"],
        "companions": [Companion(repo="somebody/adapter")],
    }
    return flux.model_copy(update={"weights": flux.weights.model_copy(update=changes)})
