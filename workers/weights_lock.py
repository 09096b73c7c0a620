"""The lock under which a repository's files come into the model cache: of all workers on a volume, one fetches."""

import contextlib
import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from backend.errors import WeightsError

LOCK = "fetching.lock"  # in a repository's folder; it says how many bytes its holder fetches
LOCK_WAIT_S = 2 * 3600.0  # 34 GB that another worker fetches
LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)


def folder_of_repo(repo: str, cache: Path) -> Path:
    """Return where the Hub's own libraries keep a repository in a cache."""
    return cache / f"models--{repo.replace('/', '--')}"


@contextlib.contextmanager
def fetching(repo: str, cache: Path, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock under which a repository's files come into the cache; `waits` hears of each look at it. Blocks.

    The system gives it back should its holder die. Raises WeightsError when another worker holds it for too long.
    """
    folder = folder_of_repo(repo, cache)
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_WAIT_S
    with (folder / LOCK).open("a") as file:
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise WeightsError(
                    f"Another worker has been fetching {repo} for {LOCK_WAIT_S / 3600:g} hours.", "Restart the workers."
                )
            waits()
            time.sleep(LOOK_EVERY_S)
        yield  # closing the file gives the lock back


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # Some network volumes have no locks. Two workers may then fetch the same, and each verifies what it uses.
        _log.warning("the volume has no file locks", exc_info=True)
    return True
