"""The model cache on the volume: base models in Hugging Face snapshot layout, each with all that it consists of.

`python -m workers.weights ID …` fetches base models ahead of the first job.
"""

import contextlib
import errno
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.errors import HTTPError as ConnectionFailed  # type: ignore[attr-defined]  # of its own httpx

from backend.base_models import load_base_model, weights_folder
from backend.contract import BaseModelSpec, Companion
from backend.errors import AtelierError, WeightsError
from backend.settings import Settings
from workers.weights_snapshot import Hub, ReportBytes, Snapshot

_log = logging.getLogger(__name__)


def fetch_weights(
    spec: BaseModelSpec, settings: Settings, report: ReportBytes | None = None, *, endpoint: str | None = None
) -> Path:
    """Return the folder a base model can be loaded from, downloading it first if need be. Blocks.

    `report` hears of bytes, from another thread. Raises WeightsError in words for a licence that has not been
    accepted, a full disk, and files that stay damaged.
    """
    if folder := _came_with_the_repository(spec, settings):
        return folder
    folders = []
    for snapshot in _snapshots(spec, Hub(settings, endpoint)):
        with _errors_in_words(snapshot):
            folders.append(snapshot.ensure(report))
    return folders[0]


def find_weights(spec: BaseModelSpec, settings: Settings) -> Path | None:
    """Return the folder a base model can be loaded from if all of it is here; the Hub isn't asked. Blocks."""
    if folder := _came_with_the_repository(spec, settings):
        return folder
    found = [snapshot.whole() for snapshot in _snapshots(spec, Hub(settings, None))]
    return found[0] if all(found) else None


def _came_with_the_repository(spec: BaseModelSpec, settings: Settings) -> Path | None:
    folder = weights_folder(spec, settings.atelier_base_models)
    if folder and not (folder / "model_index.json").exists():
        raise WeightsError(f"{spec.name} lacks its weights at {folder.name}/.", "Clone the repository again.")
    return folder


def _snapshots(spec: BaseModelSpec, hub: Hub) -> list[Snapshot]:
    """Return what a base model consists of, itself first."""
    base = Companion(repo=spec.weights.repo, revision=spec.weights.revision, include=spec.weights.include)
    companions = spec.weights.companions if hub.with_companions else []
    return [Snapshot(base, spec.name, hub), *(Snapshot(each, each.repo, hub) for each in companions)]


@contextlib.contextmanager
def _errors_in_words(snapshot: Snapshot) -> Iterator[None]:
    try:
        yield
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise WeightsError(
            f"{snapshot.name} may not be downloaded from {snapshot.repo}.",
            f"Accept its licence at https://huggingface.co/{snapshot.repo} and set HF_TOKEN to one of that account.",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, ConnectionFailed) as error:
        raise WeightsError(
            f"{snapshot.name} could not be downloaded: {error}", "Check the worker's connection and try again."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WeightsError(
                f"The disk was full before {snapshot.name} had been downloaded.",
                "Make the network volume or the container disk larger, or delete a base model from it.",
            ) from error
        raise WeightsError(f"{snapshot.name} could not be stored: {error}", "Check the network volume.") from error


def main(ids: list[str]) -> int:
    """Fetch base models; return how many could not be."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings, failed = Settings(), 0
    for base_model_id in ids:
        try:
            spec = load_base_model(base_model_id)
            _log.info("%s: about %.1f GB where they are missing", spec.name, spec.weights.bytes / 1e9)
            _log.info("%s lies at %s", spec.name, fetch_weights(spec, settings))
        except AtelierError as error:
            _log.error("%s", error)
            failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
