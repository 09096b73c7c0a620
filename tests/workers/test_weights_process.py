"""Weights fetched in a process of their own: bytes as they arrive, an end at once, errors in the same words."""

import asyncio
import time

import psutil  # type: ignore[import-untyped]
import pytest

from backend.contract import BaseModelSpec
from backend.errors import WeightsError
from backend.settings import Settings
from tests.workers.conftest import FILES
from tests.workers.hub import Hub
from workers.weights import fetch_weights
from workers.weights_lock import fetching
from workers.weights_process import bring_weights

BIG = "transformer/big.safetensors"
TOTAL = len(FILES["model_index.json"]) + len(FILES[BIG])


class Arrivals:
    """Remembers what it is told of bytes."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int, int]] = []
        self.some = asyncio.Event()

    def __call__(self, name: str, done: int, total: int) -> None:
        self.said.append((name, done, total))
        if done:
            self.some.set()


@pytest.fixture(autouse=True)
def endpoint(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)


async def test_bytes_are_told_while_they_arrive(hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub) -> None:
    hub.file_takes_s = 1.5
    arrivals = Arrivals()
    folder = await bring_weights(hub_spec, hub_settings, arrivals)
    assert (folder / BIG).read_bytes() == FILES[BIG]
    assert any(0 < done < TOTAL for _, done, _ in arrivals.said)
    assert arrivals.said[-1] == ("FLUX.1-dev", TOTAL, TOTAL)

    there = time.monotonic()
    hub.repositories.clear()
    assert await bring_weights(hub_spec, hub_settings, arrivals) == folder
    assert time.monotonic() - there < 0.4  # no process is started for it


async def test_a_cancel_ends_the_download_at_once_and_gives_the_lock_back(
    hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub
) -> None:
    hub.file_takes_s = 60
    arrivals = Arrivals()
    bringing = asyncio.create_task(bring_weights(hub_spec, hub_settings, arrivals))
    async with asyncio.timeout(20):
        await arrivals.some.wait()
    bringing.cancel()
    cancelled = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await bringing
    assert time.monotonic() - cancelled < 2
    ours = [process.cmdline() for process in psutil.Process().children(recursive=True)]
    assert not [words for words in ours if "workers.weights_process" in words]

    def waits() -> None:
        raise AssertionError("the lock is still held")

    with fetching("somebody/model", hub_settings.hub_cache, waits):
        pass
    hub.file_takes_s = 0
    assert (await bring_weights(hub_spec, hub_settings, arrivals) / BIG).read_bytes() == FILES[BIG]


async def test_one_that_waits_for_another_tells_how_far_that_one_is(
    hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub
) -> None:
    hub.file_takes_s = 3
    first = asyncio.create_task(asyncio.to_thread(fetch_weights, hub_spec, hub_settings, endpoint=hub.endpoint))
    lock = hub_settings.hub_cache / "models--somebody--model" / "fetching.lock"
    async with asyncio.timeout(10):
        while not (lock.exists() and lock.read_text()):  # noqa: ASYNC110 - the far end tells nobody
            await asyncio.sleep(0.05)
    arrivals = Arrivals()
    assert await bring_weights(hub_spec, hub_settings, arrivals) == await first
    assert any(0 < done < total == TOTAL for _, done, total in arrivals.said)
    assert hub.served.count(BIG) == 1


async def test_a_refusal_comes_back_in_words(hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub) -> None:
    hub.gated.add("somebody/model")
    with pytest.raises(WeightsError, match=r"may not be downloaded.*Accept its licence at https://.*HF_TOKEN"):
        await bring_weights(hub_spec, hub_settings, Arrivals())
    assert not hub.served


async def test_only_the_token_of_the_settings_is_sent(
    hub_spec: BaseModelSpec, hub_settings: Settings, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    await bring_weights(hub_spec, hub_settings, Arrivals())
    assert hub.tokens == {""}
    mine = Settings.model_validate({"atelier_volume": hub_settings.atelier_volume / "other", "hf_token": "hf_mine"})
    await bring_weights(hub_spec, mine, Arrivals())
    assert hub.tokens == {"", "Bearer hf_mine"}
