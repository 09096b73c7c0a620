"""LoRA files on this worker: fetched from storage once, known by their content, checked, and bounded in bytes."""

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import NamedTuple

from backend.errors import LoraRejected, NotFound, StorageError
from backend.lora_files import check_is_lora, lora_missing
from backend.storage import Bucket, Head

MAX_CACHE_BYTES = 20 * 2**30


class CachedLora(NamedTuple):
    """A LoRA file on this machine, whole and looked at."""

    path: Path
    name: str  # for people: its file name in storage
    content_hash: str
    tensor_hash: str  # SHA-256 of what follows the header: what other tools know a LoRA by


class LoraCache:
    """LoRA files in one folder, named by content and never changed. Safe to use from several threads."""

    def __init__(self, folder: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # of the next line
        self._locks: dict[str, threading.Lock] = {}
        self._tensor_hashes: dict[str, str] = {}

    def fetch(self, bucket: Bucket, keys: Sequence[str]) -> list[CachedLora]:
        """Return the files at these keys, downloading those that aren't here. Blocks.

        The least recently used others make room. Raises NotFound or LoraRejected with the name of the file at fault.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        loras = [self._fetch_one(bucket, key) for key in keys]
        self._make_room(keep={lora.path for lora in loras})
        return loras

    def _fetch_one(self, bucket: Bucket, key: str) -> CachedLora:
        name = PurePosixPath(key).stem
        try:
            head = bucket.head(key)
            content_hash = _content_hash(key, head)
            path = self._folder / f"{content_hash}.safetensors"
            with self._lock_of(content_hash):
                if not path.exists():
                    _download(bucket, key, head, path)
                check_is_lora(path, name)
                if content_hash not in self._tensor_hashes:
                    self._tensor_hashes[content_hash] = tensor_hash(path)
                os.utime(path)  # used now: the last to go
        except NotFound as error:
            raise lora_missing(key) from error
        except LoraRejected:
            path.unlink(missing_ok=True)
            raise
        return CachedLora(path, name, content_hash, self._tensor_hashes[content_hash])

    def _lock_of(self, content_hash: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(content_hash, threading.Lock())

    def _make_room(self, keep: set[Path]) -> None:
        # A file that another worker on this machine has just removed is no loss. Among them is what a worker had begun
        # to download when it was killed: nobody comes back for it.
        sizes = {path: stat for path in self._folder.iterdir() if (stat := _stat(path))}
        total = sum(stat.st_size for stat in sizes.values())
        for path, stat in sorted(sizes.items(), key=lambda item: item[1].st_mtime_ns):
            if total <= self._max_bytes:
                return
            if path not in keep:
                path.unlink(missing_ok=True)
                total -= stat.st_size


def tensor_hash(path: Path) -> str:
    """Return the SHA-256 of a safetensors file without its header, which the same LoRA keeps when it is renamed."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        file.seek(8 + header_bytes)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_hash(key: str, head: Head) -> str:
    # An etag names a content, but only for one key: two uploads in parts of different size differ in it.
    return head.sha256 or hashlib.sha256(f"{head.etag} {key}".encode()).hexdigest()


def _download(bucket: Bucket, key: str, head: Head, path: Path) -> None:
    """Write an object to `path`, which appears only when every byte of it is there."""
    digest = hashlib.sha256()
    with NamedTemporaryFile(dir=path.parent, prefix="download-", delete=False) as file:
        partial = Path(file.name)
        try:
            for chunk in bucket.stream(key):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            if head.sha256 and digest.hexdigest() != head.sha256:
                # Kept under that name it would stand for another file for as long as this worker lives.
                raise StorageError(f"{key} arrived changed: its content is not what was stored.", "Upload it again.")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
