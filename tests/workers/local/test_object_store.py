"""The S3 server by itself."""

import asyncio
import json
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import boto3
import psutil  # type: ignore[import-untyped]
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from workers.local.object_store import ObjectStore

SESSION = boto3.Session()  # one for all: each reads the service's description anew
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


def s3_for(store: ObjectStore, **other: str) -> Any:
    environment = store.environment | other
    return SESSION.client(
        "s3",
        endpoint_url=environment["R2_ENDPOINT_URL"],
        aws_access_key_id=environment["R2_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["R2_SECRET_ACCESS_KEY"],
        region_name="auto",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}, proxies={}),
    )


def server_of(store: ObjectStore) -> psutil.Process:
    port = int(store.endpoint_url.rsplit(":", 1)[1])
    listening = [one for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port and one.pid]
    return psutil.Process(listening[0].pid)


async def test_it_keeps_data_and_ports_and_refuses_strangers(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    await store.start()
    s3 = s3_for(store)
    for bucket in ("atelier-loras", "atelier-outputs"):
        s3.put_object(Bucket=bucket, Key="a/b.txt", Body=b"kept")
    for wrong in ({"R2_SECRET_ACCESS_KEY": "x" * 40}, {"R2_ACCESS_KEY_ID": "somebody"}):
        with pytest.raises(ClientError) as refusal:
            s3_for(store, **wrong).get_object(Bucket="atelier-loras", Key="a/b.txt")
        assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    listening = [one for one in server_of(store).net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    assert len(listening) == 10
    assert {one.laddr.ip for one in listening} == {"127.0.0.1"}
    before = store.environment
    await store.stop()

    store = ObjectStore(tmp_path)
    await store.start()
    assert store.environment == before
    assert s3_for(store).get_object(Bucket="atelier-outputs", Key="a/b.txt")["Body"].read() == b"kept"
    await store.stop()
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    secret = before["R2_SECRET_ACCESS_KEY"]
    assert secret not in (tmp_path / "logs" / "object_store.log").read_text()


async def test_it_comes_back_when_killed_and_moves_when_its_port_is_taken(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    await store.start()
    s3_for(store).put_object(Bucket="atelier-loras", Key="kept", Body=b"kept")
    address, killed = store.endpoint_url, server_of(store)
    os.kill(killed.pid, signal.SIGKILL)
    for _ in range(100):
        await asyncio.sleep(0.1)
        try:
            found = await asyncio.to_thread(s3_for(store).get_object, Bucket="atelier-loras", Key="kept")
            break
        except Exception:  # noqa: S112 - it is on its way
            continue
    assert found["Body"].read() == b"kept"
    assert store.endpoint_url == address
    await store.stop()

    ports = json.loads((tmp_path / "object_store.json").read_text())
    with socket.create_server(("127.0.0.1", ports["s3"] + 10_000)):
        store = ObjectStore(tmp_path)
        await store.start()
        assert store.endpoint_url != address
        assert s3_for(store).get_object(Bucket="atelier-loras", Key="kept")["Body"].read() == b"kept"
        s3_for(store).put_object(Bucket="atelier-loras", Key="another", Body=b"another")
        await store.stop()
