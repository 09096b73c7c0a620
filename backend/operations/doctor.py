"""Looks at everything a studio stands on, from where it runs, and says of each whether it is well or what to do."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import httpx
from pydantic import SecretStr

from backend.base_models import load_base_models
from backend.contract import BaseModelSpec
from backend.errors import AtelierError, RunPodError, StorageError
from backend.operations.declaration import load_declaration
from backend.operations.first_run import can_run_locally, is_begun, missing
from backend.operations.runpod_account import RunPodAccount
from backend.runs.runpod_client import Endpoint
from backend.settings import Settings
from backend.storage import Bucket, Storage
from backend.training.preflight import check_licence, check_writable

_ROOM_GB = 5
_ANSWERS_S = 10.0
_PROBE = "preflight/cors"


class Finding(NamedTuple):
    """One line: what was looked at, whether it is well, and what is there or what to do."""

    what: str
    well: bool
    said: str


def examine(settings: Settings, address: str = "") -> Iterator[Finding]:
    """Yield one finding after another. `address` is where people open the studio; '' if that isn't known."""
    if settings.in_cloud or is_begun(settings):
        yield from _variables(settings)
        if settings.r2_secret_access_key.get_secret_value():
            yield from _storage(settings, address)
        if settings.runpod_api_key.get_secret_value():
            yield from _runpod(settings)
    else:
        yield from _this_computer(settings)
    yield from _licences(settings)
    if address:
        yield _asked(f"Studio at {address}", partial(_is_ready, address))


def _variables(settings: Settings) -> Iterator[Finding]:
    lacking = missing(settings)
    for requirement in lacking:
        yield Finding(requirement.title, False, f"Set {', '.join(requirement.variables)}: {requirement.link}")
    if not lacking:
        yield Finding("Variables", True, "all set")
    if settings.space_id and not settings.session_secret.get_secret_value():
        yield Finding("SESSION_SECRET", False, "Set it to any long random text, or a restart signs everybody out.")


def _storage(settings: Settings, address: str) -> Iterator[Finding]:
    storage = Storage(settings)
    for bucket, variable in ((storage.loras, "R2_LORA_BUCKET"), (storage.outputs, "R2_OUTPUT_BUCKET")):
        yield _asked(f"Bucket {bucket.name}", partial(_writable, bucket, variable))
    if address:
        yield _asked(f"CORS of {storage.outputs.name}", partial(_cors, storage.outputs, address))


def _writable(bucket: Bucket, variable: str) -> str:
    check_writable(bucket, variable)
    return "can be written to"


def _cors(bucket: Bucket, address: str) -> str:
    """Ask as a browser at `address` would. The studio's page only shows pictures, for which no rule is needed."""
    bucket.put(_PROBE, b"x")
    try:
        reply = httpx.get(bucket.presign(_PROBE), headers={"Origin": address}, timeout=_ANSWERS_S)
    except httpx.TransportError as error:
        raise StorageError(f"The bucket is not responding ({type(error).__name__}).") from error
    finally:
        bucket.delete([_PROBE])
    if reply.headers.get("access-control-allow-origin") in ("*", address):
        return f"pages at {address} may read it"
    return f"pages at {address} may show pictures, which is all the studio does; to read them, allow GET there"


def _is_ready(address: str) -> str:
    """Ask the studio itself, which may have been given other variables than there are here."""
    try:
        reply = httpx.get(f"{address}/readyz", timeout=_ANSWERS_S)
        told = reply.json()
    except httpx.TransportError as error:
        raise AtelierError(
            f"It is not responding ({type(error).__name__}).", "See whether it is built and runs."
        ) from error
    except ValueError as error:
        raise AtelierError(
            f"What answers there ({reply.status_code}) is no studio.",
            "See whether it is built and runs; a private Space answers only those who are signed in.",
        ) from error
    if count := told.get("missing"):
        raise AtelierError(f"{count} things are missing there.", "Open it: it says which.")
    if away := [f"{name} {said}" for name, said in told.items() if name != "ready" and said != "ok"]:
        raise AtelierError(f"From there: {', '.join(away)}.", "Compare its variables with the ones here.")
    return "is up, and reaches its buckets and endpoints"


def _runpod(settings: Settings) -> Iterator[Finding]:
    endpoints = (
        ("training", settings.runpod_training_endpoint_id),
        ("image generation", settings.runpod_image_generation_endpoint_id),
    )
    given = {endpoint_id: name for name, endpoint_id in endpoints if endpoint_id}
    for endpoint_id, name in given.items():
        yield _asked(f"Endpoint for {name}", partial(_answers, Endpoint(settings, endpoint_id, name)))
    yield from _images(settings, given)


def _answers(endpoint: Endpoint) -> str:
    try:
        health = endpoint.health()
    finally:
        endpoint.close()
    return f"answers; {health.workers_ready} workers awake, {health.jobs_in_queue} jobs waiting"


def _images(settings: Settings, given: dict[str, str]) -> Iterator[Finding]:
    """What each endpoint runs, as far as the key may ask."""
    declaration = load_declaration()
    images = {"training": declaration.training.image, "image generation": declaration.image_generation.image}
    account = RunPodAccount(settings)
    try:
        there = {thing["id"]: thing for thing in account.everything("serverless")}
    except RunPodError as error:
        yield Finding("Images", False, str(error))
        return
    finally:
        account.close()
    for endpoint_id, name in given.items():
        endpoint = there.get(endpoint_id)
        if endpoint is None:
            yield Finding(f"Image for {name}", False, "This key's account has no such endpoint: check both.")
            continue
        image = str(endpoint.get("image", ""))
        well = image.split("/")[-1].split(":")[0] == images[name].split("/")[-1].split(":")[0]
        yield Finding(f"Image for {name}", well, image if well else f"It runs {image}: run `atelier deploy`.")
        if not endpoint.get("networkVolumes"):
            said = "None is attached: each worker downloads the base model anew, 34 GB for FLUX.1"
            room = f", onto a disk of {endpoint['disk']} GB" if endpoint.get("disk") else ""
            yield Finding(f"Volume for {name}", False, f"{said}{room}. Run `atelier deploy`.")


def _this_computer(settings: Settings) -> Iterator[Finding]:
    well = can_run_locally()
    yield Finding("Local machine", well, "installed" if well else "Run `make run`, or set RunPod's and R2's variables.")
    home = settings.atelier_home
    nearest = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(nearest).free / 1e9
    yield Finding("Room on disk", free >= _ROOM_GB, f"{free:.0f} GB free at {home}; {_ROOM_GB} GB are needed.")


def _licences(settings: Settings) -> Iterator[Finding]:
    gated = [spec for spec in load_base_models(settings.atelier_base_models).values() if spec.licence.gated]
    token = settings.hf_token
    if token is None:
        names = ", ".join(spec.name for spec in gated)
        yield Finding("HF_TOKEN", True, f"not set; only needed for {names}: https://huggingface.co/settings/tokens")
        return
    for spec in gated:
        yield _asked(f"Licence of {spec.name}", partial(_accepted, spec, token))


def _accepted(spec: BaseModelSpec, token: SecretStr) -> str:
    check_licence(spec, token)
    return "accepted"


def _asked(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, check())
    except AtelierError as error:
        return Finding(what, False, str(error))
