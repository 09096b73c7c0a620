"""The storage client against a real S3 server."""

import threading
import time
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from backend.contract import Metrics
from backend.errors import NotFound, StorageError
from backend.keys import ImageKeys
from backend.settings import Settings
from backend.storage import Storage, sha256_of
from tests.wire import Wire


def test_bytes_come_back(storage: Storage, owner: str) -> None:
    storage.loras.put(f"{owner}/a", b"hello", metadata={"sha256": "abc"})
    assert storage.loras.get(f"{owner}/a") == b"hello"
    assert storage.loras.head(f"{owner}/a")[:2] == (5, "abc")


def test_a_missing_key_is_named(storage: Storage, owner: str) -> None:
    with pytest.raises(NotFound, match=f"{owner}/none"):
        storage.loras.get(f"{owner}/none")
    assert not storage.loras.exists(f"{owner}/none")
    assert storage.loras.find_message(f"{owner}/none", Metrics) is None


def test_only_the_first_writer_wins_when_asked_so(storage: Storage, owner: str) -> None:
    assert storage.loras.put(f"{owner}/once", b"first", if_absent=True)
    assert not storage.loras.put(f"{owner}/once", b"second", if_absent=True)
    assert storage.loras.get(f"{owner}/once") == b"first"


def test_a_large_file_goes_up_in_parts_and_down_whole(storage: Storage, owner: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 100_000)  # 25.6 MB: two parts
    storage.loras.upload(f"{owner}/large", source)
    storage.loras.download(f"{owner}/large", target)
    assert sha256_of(source) == sha256_of(target)
    assert list(tmp_path.glob("*.partial")) == []


def test_what_breaks_off_is_gone_on_with(storage_settings: Settings, owner: str) -> None:
    content = bytes(range(256)) * 100_000
    wire = Wire(int(storage_settings.r2_endpoint_url.rsplit(":", 1)[1]))
    bucket = Storage(storage_settings.model_copy(update={"r2_endpoint_url": f"http://127.0.0.1:{wire.port}"})).loras
    bucket.put(f"{owner}/long", content)
    for start, end in ((None, None), (1000, 20_000_000)):
        pieces = bucket.stream(f"{owner}/long", start=start, end=end)
        arrived = [next(pieces)]
        wire.cut()
        wire.mend()
        arrived += list(pieces)
        assert b"".join(arrived) == (content if start is None else content[1000 : 20_000_000 + 1])
    wire.cut()


def test_what_changes_while_it_is_read_is_never_pieced_together(storage_settings: Settings, owner: str) -> None:
    wire = Wire(int(storage_settings.r2_endpoint_url.rsplit(":", 1)[1]))
    bucket = Storage(storage_settings.model_copy(update={"r2_endpoint_url": f"http://127.0.0.1:{wire.port}"})).loras
    bucket.put(f"{owner}/long", bytes(25_000_000))
    pieces = bucket.stream(f"{owner}/long")
    next(pieces)
    wire.cut()
    wire.mend()
    bucket.put(f"{owner}/long", b"1" * 25_000_000)
    with pytest.raises(StorageError, match="was changed meanwhile"):
        list(pieces)
    wire.cut()


def test_a_range_is_both_ends_inclusive(storage: Storage, owner: str) -> None:
    storage.loras.put(f"{owner}/range", b"0123456789")
    assert b"".join(storage.loras.stream(f"{owner}/range", start=2, end=4)) == b"234"


def test_a_listing_goes_on_behind_a_key(storage: Storage, owner: str) -> None:
    for name in ("a", "b", "c"):
        storage.loras.put(f"{owner}/{name}", b"")
    assert [item.key for item in storage.loras.list_page(f"{owner}/", after=f"{owner}/a")] == [
        f"{owner}/b",
        f"{owner}/c",
    ]
    assert len(list(storage.loras.list_all(f"{owner}/"))) == 3


def test_folders_are_listed_by_name(storage: Storage, owner: str) -> None:
    for name in ("train-1/x", "train-2/x", "image-1/x"):
        storage.loras.put(f"runs/{owner}/{name}", b"")
    assert storage.loras.list_folders(f"runs/{owner}/train-") == ["train-1", "train-2"]


def test_deleting_what_is_not_there_is_no_error(storage: Storage, owner: str) -> None:
    storage.loras.put(f"{owner}/x", b"")
    storage.loras.delete([f"{owner}/x", f"{owner}/never"])
    assert not storage.loras.exists(f"{owner}/x")


def test_a_presigned_address_opens_without_keys(storage: Storage, owner: str) -> None:
    storage.outputs.put(f"{owner}/picture.png", b"png")
    reply = httpx.get(storage.outputs.presign(f"{owner}/picture.png", download_as="mine.png"))
    assert (reply.content, reply.headers["content-type"]) == (b"png", "image/png")
    assert reply.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "mine.png" in reply.headers["content-disposition"]


def test_a_presigned_address_opens_one_object_and_not_for_long(storage: Storage, owner: str) -> None:
    for name in ("mine", "theirs"):
        storage.outputs.put(f"{owner}/{name}.png", b"png")
    address = storage.outputs.presign(f"{owner}/mine.png")
    assert "X-Amz-Expires=10800" in address
    assert httpx.get(address.replace("mine", "theirs")).status_code == 403
    assert httpx.put(address, content=b"x").status_code == 403
    short = storage.outputs.presign(f"{owner}/mine.png", expires_s=1)
    time.sleep(2.1)
    assert httpx.get(short).status_code == 403


def test_wrong_keys_are_explained_and_not_shown(storage_settings: Settings) -> None:
    wrong = storage_settings.model_copy(update={"r2_secret_access_key": SecretStr("planted-secret")})
    with pytest.raises(StorageError) as caught:
        Storage(wrong).loras.get("x")
    assert "R2_SECRET_ACCESS_KEY" in str(caught.value)
    assert "planted-secret" not in repr(caught.value.__dict__)


def test_a_message_of_another_kind_is_refused(storage: Storage, owner: str) -> None:
    storage.loras.put(f"{owner}/odd.json", b'{"hello": 1}')
    with pytest.raises(StorageError, match="is not a Metrics"):
        storage.loras.get_message(f"{owner}/odd.json", Metrics)


def test_what_a_newer_version_says_more_is_read_over_but_never_changed(storage: Storage, owner: str) -> None:
    key = f"{owner}/newer.json"
    storage.loras.put(key, b'{"steps": [1], "loss": [0.5], "learning_rate": [0.1], "tomorrows": 1}')
    assert storage.loras.get_message(key, Metrics).loss == [0.5]
    with pytest.raises(StorageError, match="is not a Metrics"):
        storage.loras.get_tagged(key, Metrics)


def test_a_runs_pictures_have_fixed_keys() -> None:
    keys = ImageKeys.of_run("ada", "image-8200000000000-0123abcd", 2)
    assert keys.image == "images/ada/8200000000000-0123abcd-2.png"


def test_a_worker_outlasts_a_storage_that_is_away(storage_settings: Settings, owner: str) -> None:
    wire = Wire(int(storage_settings.r2_endpoint_url.rsplit(":", 1)[1]))
    through_it = storage_settings.model_copy(update={"r2_endpoint_url": f"http://127.0.0.1:{wire.port}"})
    patient = Storage(through_it, patient=True)
    patient.loras.put(f"{owner}/before", b"1")
    wire.cut()
    back = threading.Timer(2, wire.mend)
    back.start()
    patient.loras.put(f"{owner}/after", b"2")
    back.join()
    assert patient.loras.get(f"{owner}/after") == b"2"
    wire.cut()
