"""What a browser may open: addresses for stored objects, and the one check of whose they are."""

import ipaddress
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

from backend.errors import NotFound
from backend.keys import is_of
from backend.storage import Bucket, Head, Storage

BucketName = Literal["loras", "outputs"]
_OWNED = frozenset({"datasets", "runs", "loras", "images", "thumbs", "starts"})
# An address stays the same that long, for a browser loads a picture anew from each; it can be opened longer.
_SIGNED_ANEW_S = 3600
_SIGNED_MOST = 20_000  # addresses that are remembered, of some 500 bytes
_SHOWN_SUFFIXES = (".png", ".jpg", ".webp", ".safetensors", ".txt")


class Media:
    """Presigned addresses where the browser can reach storage, /media addresses of the app where it can't."""

    def __init__(self, storage: Storage, now: Callable[[], float] = time.time) -> None:
        self._buckets: dict[BucketName, Bucket] = {"loras": storage.loras, "outputs": storage.outputs}
        self._presigned = not is_loopback(storage.endpoint)
        self._now = now
        self._signed_in = lru_cache(maxsize=_SIGNED_MOST)(self._sign)

    def url(self, bucket: BucketName, key: str, *, download_as: str = "", version: int = 0) -> str:
        """Return an address for an object that the caller has been shown to own.

        `version` is for one whose content changes under its key: a browser keeps what it has from an address for good.
        """
        if self._presigned:
            return self._signed_in(bucket, key, download_as, version, int(self._now() // _SIGNED_ANEW_S))
        query = {name: str(value) for name, value in {"download": download_as, "version": version}.items() if value}
        return f"/media/{bucket}/{quote(key)}{'?' if query else ''}{urlencode(query, quote_via=quote)}"

    def _sign(self, bucket: BucketName, key: str, download_as: str, version: int, hour: int) -> str:
        """Return a new address; it has the second in it. Version and hour only tell when one is due."""
        return self._buckets[bucket].presign(key, download_as=download_as)

    def save(self, bucket: BucketName, key: str, path: Path) -> None:
        """Write an object to a file."""
        self._buckets[bucket].download(key, path)

    def open(
        self, owner: str, bucket: str, key: str, *, start: int | None = None, end: int | None = None
    ) -> tuple[Head, Iterator[bytes]]:
        """Return what is known of an object of the owner's, and its bytes. Raises NotFound for all others."""
        mine = key.split("/")[0] in _OWNED and is_of(owner, key)
        if bucket not in ("loras", "outputs") or not mine or not key.endswith(_SHOWN_SUFFIXES):
            raise NotFound("There is nothing of yours at this address.")
        source = self._buckets[bucket]  # type: ignore[index]
        return source.head(key), source.stream(key, start=start, end=end)


def is_loopback(endpoint: str) -> bool:
    """Return whether an address leads to this computer."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
