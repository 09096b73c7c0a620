"""The LoRA cache against the real S3 server."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors.numpy import save

from backend.errors import LoraRejected, NotFound, StorageError
from backend.storage import Bucket, Storage
from tests.workers.image_generation.conftest import lora_bytes, lora_tensors
from workers.image_generation.loras import LoraCache


class CountedBucket(Bucket):
    """The bucket, noting what is downloaded."""

    downloads: list[str]

    def stream(self, key: str, *, start: int | None = None, end: int | None = None) -> Iterator[bytes]:
        self.downloads.append(key)
        return super().stream(key, start=start, end=end)


@pytest.fixture
def bucket(storage: Storage) -> CountedBucket:
    bucket = CountedBucket(storage.loras._client, storage.loras.name)
    bucket.downloads = []
    return bucket


def put(bucket: Bucket, owner: str, data: bytes, name: str = "robot", sha256: str | None = None) -> str:
    key = f"loras/{owner}/1/{name}.safetensors"
    sha256 = hashlib.sha256(data).hexdigest() if sha256 is None else sha256
    bucket.put(key, data, metadata={"sha256": sha256} if sha256 else {})
    return key


def test_a_file_is_downloaded_once_whoever_asks(bucket: CountedBucket, owner: str, tmp_path: Path) -> None:
    key = put(bucket, owner, lora_bytes())
    cache = LoraCache(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        fetched = list(threads.map(lambda _: cache.fetch(bucket, [key])[0], range(16)))
    assert bucket.downloads == [key]
    assert {lora.path for lora in fetched} == {tmp_path / f"{hashlib.sha256(lora_bytes()).hexdigest()}.safetensors"}
    assert [path.name for path in tmp_path.iterdir()] == [fetched[0].path.name]


def test_the_same_content_under_another_key_is_not_downloaded_again(
    bucket: CountedBucket, owner: str, tmp_path: Path
) -> None:
    cache = LoraCache(tmp_path)
    cache.fetch(bucket, [put(bucket, owner, lora_bytes(), "first"), put(bucket, owner, lora_bytes(), "second")])
    assert len(bucket.downloads) == 1


def test_new_content_under_an_old_key_is_noticed_without_a_stored_hash(
    bucket: CountedBucket, owner: str, tmp_path: Path
) -> None:
    cache = LoraCache(tmp_path)
    before = cache.fetch(bucket, [put(bucket, owner, lora_bytes(seed=1), sha256="")])[0]
    after = cache.fetch(bucket, [put(bucket, owner, lora_bytes(seed=2), sha256="")])[0]
    assert before.path.read_bytes() == lora_bytes(seed=1)
    assert after.path.read_bytes() == lora_bytes(seed=2)


def test_the_least_recently_used_makes_room(bucket: CountedBucket, owner: str, tmp_path: Path) -> None:
    keys = [put(bucket, owner, lora_bytes(seed=number), str(number)) for number in range(3)]
    cache = LoraCache(tmp_path, max_bytes=2 * len(lora_bytes()))
    first, second = cache.fetch(bucket, keys[:2])
    os.utime(first.path, ns=(10, 10))
    os.utime(second.path, ns=(20, 20))
    cache.fetch(bucket, keys[:1])
    third = cache.fetch(bucket, keys[2:])[0]
    assert {lora.path.exists() for lora in (first, third)} == {True}
    assert not second.path.exists()


def test_what_a_killed_worker_left_makes_room_too(bucket: CountedBucket, owner: str, tmp_path: Path) -> None:
    left = tmp_path / "download-x"
    left.write_bytes(lora_bytes())
    os.utime(left, ns=(10, 10))
    LoraCache(tmp_path, max_bytes=len(lora_bytes())).fetch(bucket, [put(bucket, owner, lora_bytes())])
    assert not left.exists()


def test_files_of_one_request_stay_even_when_they_are_too_many(
    bucket: CountedBucket, owner: str, tmp_path: Path
) -> None:
    keys = [put(bucket, owner, lora_bytes(seed=number), str(number)) for number in range(3)]
    assert all(lora.path.exists() for lora in LoraCache(tmp_path, max_bytes=1).fetch(bucket, keys))


def test_a_missing_lora_is_named(bucket: CountedBucket, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"The LoRA “none” is not in storage\."):
        LoraCache(tmp_path).fetch(bucket, ["loras/nobody/none.safetensors"])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lora_bytes()[:-1], "'robot' is damaged, cut short"),
        (lora_bytes()[:20], "'robot' is damaged, cut short"),
        (b"", "'robot' is damaged, cut short"),
        (b"<html>404</html>", "'robot' is damaged, cut short"),
        (bytes(save({"vae.weight": lora_tensors().popitem()[1]})), "'robot' is not a LoRA: it holds 1 tensors such as"),
    ],
    ids=["one byte short", "header cut", "empty", "a web page", "no LoRA"],
)
def test_a_file_that_is_no_lora_is_refused_by_name_and_not_kept(
    bucket: CountedBucket, owner: str, tmp_path: Path, data: bytes, said: str
) -> None:
    with pytest.raises(LoraRejected, match=said):
        LoraCache(tmp_path).fetch(bucket, [put(bucket, owner, data)])
    assert not list(tmp_path.iterdir())


def test_content_that_is_not_what_its_hash_says_is_not_kept(bucket: CountedBucket, owner: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="arrived changed"):
        LoraCache(tmp_path).fetch(bucket, [put(bucket, owner, lora_bytes(), sha256="00" * 32)])
    assert not list(tmp_path.iterdir())
