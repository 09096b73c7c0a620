"""The far ends that tests use: the real S3 server, and the real machine with both its workers."""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from app.local_machine import LocalMachine
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio
from workers.local.object_store import ObjectStore

T = TypeVar("T")
FIRST = ("tests/journeys/", "tests/workers/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take minutes first, so that no worker begins one when the others are done."""
    items.sort(key=lambda item: next((at for at, part in enumerate(FIRST) if part in item.nodeid), len(FIRST)))


class LoopThread:
    """An event loop that outlives the tests that use what runs in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextlib.contextmanager
def object_store(folder: Path) -> Iterator[Settings]:
    """Yield settings that lead to a real S3 server of one's own, with nothing in it."""
    loop = LoopThread()
    store = ObjectStore(folder / "store")
    loop.run(store.start())
    variables = store.environment | {"ATELIER_HOME": str(folder / "home")}
    yield Settings.model_validate({name.lower(): value for name, value in variables.items()})
    loop.run(store.stop())
    loop.close()


@pytest.fixture(scope="session")
def storage_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings that lead to a real S3 server, one for the session."""
    with object_store(tmp_path_factory.mktemp("storage")) as settings:
        yield settings


@pytest.fixture(scope="session")
def storage(storage_settings: Settings) -> Storage:
    return Storage(storage_settings)


@pytest.fixture
def owner() -> str:
    """Somebody new: tests share the server and don't see each other's things."""
    return f"owner-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def machine_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a real local machine with both workers, one for the session."""
    machine = LocalMachine(Settings(atelier_home=tmp_path_factory.mktemp("home")))
    machine.start()
    yield machine.settings()
    machine.stop()


@pytest.fixture(scope="session")
def studio(machine_settings: Settings) -> Iterator[Studio]:
    studio = Studio.connect(machine_settings)
    yield studio
    studio.close()


@pytest.fixture
def sample_pictures() -> list[Path]:
    return sorted((Path(__file__).parents[1] / "assets" / "sample_dataset").glob("*.png"))
