"""Object storage: the one S3 client. What lies where is spelt in `keys`.

The same client serves Cloudflare R2 and the SeaweedFS of the local machine. It knows bytes, files and messages; what
they mean is the business of the modules above.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, TypeVar

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from pydantic import ValidationError

from backend.contract import Message
from backend.errors import NotFound, StorageError
from backend.settings import Settings
from backend.silence import Silence

PRESIGNED_S = 3 * 3600  # whoever has the address has the object, so not for longer than a page is looked at
KEPT_FOR_GOOD = "private, max-age=31536000, immutable"  # by browsers: a picture that is there never changes
# With the SDK's pauses, up to 20 s long, an outage is outlasted of some five seconds, or of two minutes and more.
_ATTEMPTS, _PATIENT_ATTEMPTS = 5, 14
# A page gives up after 30 s: it has to be told before that a storage is there and says nothing.
_SILENT_S, _PATIENTLY_SILENT_S = 10, 60
_BROKEN_OFF = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
_PIECE_BYTES = 2**20
_AT_ONCE = 16  # requests
_TRANSFER = TransferConfig(multipart_threshold=16 * 2**20, multipart_chunksize=16 * 2**20, max_concurrency=4)
_CONTENT_TYPES = {
    ".json": "application/json",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".txt": "text/plain; charset=utf-8",
    ".zip": "application/zip",
}

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class Stored(NamedTuple):
    """One object in a listing."""

    key: str
    bytes: int
    modified_at: float  # seconds since 1970
    etag: str  # changes with the content


class Head(NamedTuple):
    """What is known of an object without reading it."""

    bytes: int
    sha256: str  # given when it was stored by us, else ''
    etag: str  # changes with the content


class Bucket:
    """One bucket. Raises NotFound for a key that isn't there, StorageError for everything else."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def put(
        self,
        key: str,
        data: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_unchanged: str = "",
    ) -> bool:
        """Store `data`; return False, and store nothing, when `if_absent` and the key exists, or when it is not
        what it was with the tag `if_unchanged`."""
        condition = {"IfNoneMatch": "*"} if if_absent else {"IfMatch": if_unchanged} if if_unchanged else {}
        # S3's own integrity check; the SDK's newer default checksums break R2.
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        try:
            with self._errors(key):
                self._client.put_object(
                    Bucket=self.name,
                    Key=key,
                    Body=data,
                    ContentMD5=digest,
                    Metadata=dict(metadata or {}),
                    **_headers(key),
                    **condition,
                )
        except _Changed:
            return False
        return True

    def put_message(self, key: str, message: Message) -> None:
        """Store a message as JSON."""
        self.put(key, message.model_dump_json().encode())

    def get(self, key: str) -> bytes:
        """Return an object's bytes; for small ones."""
        return b"".join(self.stream(key))

    def get_message(self, key: str, kind: type[M]) -> M:
        """Return a stored message; what a newer version says more is left out. Raises StorageError for another kind."""
        return _message(self.name, key, self.get(key), kind, extra="ignore")

    def get_tagged(self, key: str, kind: type[M]) -> tuple[M, str]:
        """Return a stored message with the tag by which `put` knows whether it changed since.

        Raises StorageError for one that says more than we know: changed by us, it would lose that.
        """
        with self._errors(key):
            reply = self._client.get_object(Bucket=self.name, Key=key)
            body: bytes = reply["Body"].read()
        return _message(self.name, key, body, kind, extra="forbid"), reply["ETag"]

    def find_message(self, key: str, kind: type[M]) -> M | None:
        """Return a stored message, or None when there is no such object."""
        try:
            return self.get_message(key, kind)
        except NotFound:
            return None

    def stream(self, key: str, *, start: int | None = None, end: int | None = None) -> Iterator[bytes]:
        """Yield an object's bytes, or those from `start` to `end` inclusive, going on where they break off."""
        at = start or 0
        same: dict[str, str] = {}
        for attempt in range(1, _ATTEMPTS + 1):
            span = {} if start is None and not at else {"Range": f"bytes={at}-{'' if end is None else end}"}
            with self._errors(key):
                reply = self._client.get_object(Bucket=self.name, Key=key, **span, **same)
                same = {"IfMatch": reply["ETag"]}  # else the rest could be another object's
                try:
                    for chunk in reply["Body"].iter_chunks(_PIECE_BYTES):
                        at += len(chunk)
                        yield chunk
                    return
                except _BROKEN_OFF:  # of which the client's own retries know nothing
                    if attempt == _ATTEMPTS:
                        raise

    def upload(self, key: str, path: Path, *, metadata: Mapping[str, str] | None = None) -> None:
        """Store a file, in parts when it is large."""
        extra = {"Metadata": dict(metadata or {})} | _headers(key)
        with self._errors(key):
            self._client.upload_file(str(path), self.name, key, ExtraArgs=extra, Config=_TRANSFER)

    def download(self, key: str, path: Path) -> None:
        """Write an object to `path`, which appears only when it is complete."""
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            for chunk in self.stream(key):
                file.write(chunk)
        partial.replace(path)

    def copy(self, source: str, target: str) -> None:
        """Store a copy of an object under another key, without bringing it here."""
        with self._errors(source):
            self._client.copy_object(Bucket=self.name, Key=target, CopySource={"Bucket": self.name, "Key": source})

    def head(self, key: str) -> Head:
        """Return what is known of an object."""
        with self._errors(key):
            reply = self._client.head_object(Bucket=self.name, Key=key)
            return Head(reply["ContentLength"], reply["Metadata"].get("sha256", ""), reply["ETag"].strip('"'))

    def exists(self, key: str) -> bool:
        """Return whether the key is there."""
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def list_page(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[Stored]:
        """Return up to `limit` (at most 1000) objects under `prefix` in key order, those behind `after` only."""
        # SeaweedFS mistakes a StartAfter outside the prefix.
        start = {"StartAfter": after} if after.startswith(prefix) and after else {}
        with self._errors(prefix):
            reply = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, MaxKeys=limit, **start)
            return [
                Stored(item["Key"], item["Size"], item["LastModified"].timestamp(), item["ETag"].strip('"'))
                for item in reply.get("Contents", [])
            ]

    def list_all(self, prefix: str) -> Iterator[Stored]:
        """Yield every object under `prefix` in key order."""
        after = ""
        while page := self.list_page(prefix, after=after):
            yield from page
            after = page[-1].key

    def list_folders(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[str]:
        """Return the names directly under `prefix` (which ends in '/' or a name's beginning), in order."""
        start = {"StartAfter": after} if after.startswith(prefix) and after else {}
        with self._errors(prefix):
            reply = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, Delimiter="/", MaxKeys=limit, **start)
            return [PurePosixPath(item["Prefix"]).name for item in reply.get("CommonPrefixes", [])]

    def delete(self, keys: list[str]) -> None:
        """Delete objects; one that isn't there is no error."""
        for first in range(0, len(keys), 1000):
            batch = {"Objects": [{"Key": key} for key in keys[first : first + 1000]], "Quiet": True}
            with self._errors(keys[first]):
                reply = self._client.delete_objects(Bucket=self.name, Delete=batch)
            if failed := reply.get("Errors"):
                raise StorageError(
                    f"{failed[0]['Key']} in {self.name} could not be deleted: {failed[0].get('Message', '')}."
                )

    def presign(self, key: str, *, expires_s: int = PRESIGNED_S, download_as: str = "") -> str:
        """Return an address that opens an object without keys until it expires."""
        parameters = {"Bucket": self.name, "Key": key}
        if download_as:
            parameters["ResponseContentDisposition"] = f'attachment; filename="{download_as}"'
        url: str = self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=expires_s)
        return url

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("404", "NoSuchKey", "NotFound"):
                raise NotFound(f"There is no {key} in {self.name}.") from error
            if code in ("412", "PreconditionFailed", "ConditionalRequestConflict"):
                raise _Changed(f"{key} in {self.name} was changed meanwhile.", "Try again.") from error
            raise StorageError(f"Storage refused {key} in {self.name}: {code or error}.", _hint_for(code)) from error
        except (BotoCoreError, Boto3Error, OSError) as error:
            # Which object it was is of no use to whoever reads this: it is the same for all.
            raise StorageError(
                f"Storage is not responding ({type(error).__name__}).",
                "If it stays so, see whether it is up and R2_ACCOUNT_ID is right.",
            ) from error


class Storage:
    """The two buckets.

    `patient` is for a worker, who would lose what took hours to make: it asks for some minutes before it gives up.
    A screen says sooner that storage is away, and asks again by itself.
    """

    def __init__(self, settings: Settings, *, patient: bool = False) -> None:
        self.endpoint = settings.storage_endpoint
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=settings.r2_access_key_id,
            aws_secret_access_key=settings.r2_secret_access_key.get_secret_value(),
            region_name="auto",
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                retries={"mode": "standard", "total_max_attempts": _PATIENT_ATTEMPTS if patient else _ATTEMPTS},
                max_pool_connections=32,
                connect_timeout=5,
                read_timeout=_PATIENTLY_SILENT_S if patient else _SILENT_S,
                tcp_keepalive=True,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        if not patient:
            Silence(client, settings.r2_lora_bucket)
        self.loras = Bucket(client, settings.r2_lora_bucket)
        self.outputs = Bucket(client, settings.r2_output_bucket)


class _Changed(StorageError):
    """A request with a condition found something else than it was meant for."""


def _message(bucket: str, key: str, data: bytes, kind: type[M], *, extra: Literal["ignore", "forbid"]) -> M:
    try:
        return kind.model_validate_json(data, extra=extra)
    except ValidationError as error:
        raise StorageError(
            f"{key} in {bucket} is not a {kind.__name__}: {error.error_count()} fields differ."
        ) from error


def _headers(key: str) -> dict[str, str]:
    """Return what a browser is told of an object it opens."""
    kind = _CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")
    return {"ContentType": kind} | ({"CacheControl": KEPT_FOR_GOOD} if kind.startswith("image/") else {})


def _hint_for(code: str) -> str:
    if code == "NoSuchBucket":
        return "Create the bucket, or correct R2_LORA_BUCKET and R2_OUTPUT_BUCKET."
    if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Unauthorized"):
        return "Check R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY, and that the key may read and write both buckets."
    return ""


def sha256_of(path: Path) -> str:
    """Return a file's content hash, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def at_once(work: Callable[[str], T], names: list[str]) -> list[T]:
    """Ask storage for several things at a time; the results are in the order of the names."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="storage") as threads:
        return list(threads.map(work, names))
