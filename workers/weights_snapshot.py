"""One repository's files at one revision in the model cache: fetched, verified, marked as whole, repaired."""

import contextlib
import fnmatch
import hashlib
import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download

from backend.contract import Companion, Message
from backend.errors import WeightsError
from backend.hugging_face import bound_waiting
from backend.settings import Settings
from workers.weights_lock import LOCK, LOOK_EVERY_S, fetching, folder_of_repo

_HUB_ANSWERS_S = 30.0
_DOWNLOADS_AT_ONCE = 4
_SPARE_BYTES = 2**30  # left free on the disk
_log = logging.getLogger(__name__)

ReportBytes = Callable[[str, int, int], None]  # of what, done, of how many


class _CachedFile(Message):
    """One file of a snapshot as the Hub describes it."""

    name: str
    bytes: int
    sha256: str = ""  # small files have none there


class _Manifest(Message):
    """What a whole snapshot consists of. Written last, so whatever it names was verified."""

    commit: str
    files: list[_CachedFile]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


class Hub:
    """The Hub as we talk to it, and where its files lie here."""

    def __init__(self, settings: Settings, endpoint: str | None) -> None:
        bound_waiting()
        self.cache = settings.hub_cache
        self.endpoint = endpoint
        self.with_companions = settings.atelier_training_engine == "ai_toolkit"
        # False and not None: a token that somebody left in a home folder shall not decide what can be fetched.
        self.token: str | bool = settings.hf_token.get_secret_value() if settings.hf_token else False
        self.api = HfApi(endpoint=endpoint, token=self.token)


class Snapshot:
    """A part of a repository at one revision."""

    def __init__(self, wanted: Companion, name: str, hub: Hub) -> None:
        self._wanted, self._hub = wanted, hub
        self.name, self.repo = name, wanted.repo
        self._folder = folder_of_repo(wanted.repo, hub.cache)
        what = hashlib.sha256(json.dumps([wanted.revision, wanted.include]).encode()).hexdigest()[:16]
        self._marker = self._folder / f"verified-{what}.json"

    def ensure(self, report: ReportBytes | None) -> Path:
        """Return its folder, whole."""
        if found := self.whole():
            return found
        with fetching(self.repo, self._hub.cache, lambda: self._report_anothers(report)):
            # Another worker may have brought it meanwhile.
            return self.whole() or self._fetch(report)

    def whole(self) -> Path | None:
        """Return the folder if everything the marker names is there with the right size; the Hub isn't asked."""
        try:
            manifest = _Manifest.model_validate_json(self._marker.read_bytes())
        except (OSError, ValueError):
            return None
        folder = self._folder_of(manifest)
        return folder if all(_has_size(folder / file.name, file.bytes) for file in manifest.files) else None

    def _report_anothers(self, report: ReportBytes | None) -> None:
        """Report how far the worker is that holds the lock; it has written there how much it fetches."""
        said = (self._folder / LOCK).read_text()
        if report and said.isdigit():
            report(self.name, min(_bytes_in(self._folder / "blobs"), int(said)), int(said))

    def _fetch(self, report: ReportBytes | None) -> Path:
        manifest = self._ask_hub()
        (self._folder / LOCK).write_text(str(manifest.bytes))
        folder = self._folder_of(manifest)
        self._marker.unlink(missing_ok=True)
        missing = [file for file in manifest.files if not self._intact(folder / file.name, file)]
        self._check_space(sum(file.bytes for file in missing))
        with _watched(self._folder / "blobs", self.name, manifest.bytes, report):
            damaged = self._download(missing, manifest.commit)
            if damaged:
                damaged = self._download(damaged, manifest.commit)
        if damaged:
            names = ", ".join(file.name for file in damaged)
            raise WeightsError(
                f"{names} of {self.repo} arrived damaged twice.",
                "Try again later, or check the network volume.",
            )
        _write(self._folder / "refs" / "main", manifest.commit)
        _write(self._marker, manifest.model_dump_json())
        return folder

    def _ask_hub(self) -> _Manifest:
        self._hub.api.auth_check(self.repo)  # a gated repository lists its files to everybody
        model = self._hub.api.model_info(
            self.repo, revision=self._wanted.revision, files_metadata=True, timeout=_HUB_ANSWERS_S
        )
        files = [
            _CachedFile(name=file.rfilename, bytes=file.size or 0, sha256=file.lfs.sha256 if file.lfs else "")
            for file in model.siblings or []
        ]
        patterns = self._wanted.include or ["*"]
        wanted = [file for file in files if any(fnmatch.fnmatchcase(file.name, pattern) for pattern in patterns)]
        if not wanted or not model.sha:
            raise WeightsError(
                f"{self.repo} has none of: {', '.join(self._wanted.include)}.",
                "Correct model.toml's 'include'.",
            )
        return _Manifest(commit=model.sha, files=wanted)

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if needed and needed + _SPARE_BYTES > free:
            raise WeightsError(
                f"{self.repo} needs {needed / 1e9:.1f} GB, and {self._hub.cache} has {free / 1e9:.1f} GB free.",
                "Make the network volume or the container disk larger, or delete a base model from it.",
            )

    def _download(self, files: list[_CachedFile], commit: str) -> list[_CachedFile]:
        """Download files side by side; return those that are not what the Hub said."""

        def fetch(file: _CachedFile) -> bool:
            path = hf_hub_download(
                self.repo,
                file.name,
                revision=commit,
                cache_dir=self._hub.cache,
                endpoint=self._hub.endpoint,
                token=self._hub.token,
            )
            return self._intact(Path(path), file)

        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as threads:
            good = list(threads.map(fetch, files))
        return [file for file, intact in zip(files, good, strict=True) if not intact]

    def _intact(self, path: Path, file: _CachedFile) -> bool:
        """Return whether a file is there and what the Hub says; a damaged one is removed so that it is fetched anew."""
        if not path.exists():
            path.unlink(missing_ok=True)  # a link whose file is gone
            return False
        if _has_size(path, file.bytes) and (not file.sha256 or _sha256(path) == file.sha256):
            return True
        _log.warning("%s of %s is damaged and will be fetched again", file.name, self.repo)
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        return False

    def _folder_of(self, manifest: _Manifest) -> Path:
        return self._folder / "snapshots" / manifest.commit


@contextlib.contextmanager
def _watched(folder: Path, name: str, total: int, report: ReportBytes | None) -> Iterator[None]:
    """Report how many bytes lie in a folder while it fills."""
    if report is None:
        yield
        return
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(LOOK_EVERY_S):
            report(name, min(_bytes_in(folder), total), total)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
    report(name, total, total)


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # renamed in this moment
            total += path.stat().st_size
    return total


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
