"""What the studio needs on RunPod, as assets/deploy.toml declares it: a volume, and for each worker a template and an
endpoint, in the words of RunPod's API. What is there already is the business of `deployment`.
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from backend.base_models import ASSETS
from backend.errors import InvalidRequest
from backend.operations.runpod_account import Kind, Thing
from backend.settings import Settings

DECLARATION = ASSETS / "deploy.toml"
_QUEUE_DELAY_S = 4


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeclaredVolume(_Part):
    """The network volume that both workers keep base models on."""

    name: str = Field(min_length=1)
    size_gb: int = Field(ge=10, le=4096)
    data_center: str = Field(min_length=1)


class DeclaredEndpoint(_Part):
    """A Serverless endpoint, and the template with its image and environment."""

    name: str = Field(min_length=1)
    image: str = Field(min_length=1)
    disk_gb: int = Field(ge=5)
    gpus: list[str] = Field(min_length=1)
    cuda_at_least: str = Field(pattern=r"^\d+\.\d+$")
    workers_min: int = Field(ge=0)
    workers_max: int = Field(ge=1)
    idle_timeout_s: int = Field(ge=1, le=3600)
    timeout_s: int = Field(ge=5, le=7 * 86_400)
    environment: dict[str, str] = {}

    @property
    def prefetched(self) -> list[str]:
        """The base models its workers fetch before anybody asks for them, as their start.sh reads them."""
        return self.environment.get("PREFETCH_MODELS", "").replace(",", " ").split()


class Declaration(_Part):
    """assets/deploy.toml."""

    needed: list[str]
    optional: list[str]
    volume: DeclaredVolume
    training: DeclaredEndpoint
    image_generation: DeclaredEndpoint

    @property
    def endpoints(self) -> dict[str, DeclaredEndpoint]:
        """Both, by their name in the file."""
        return {"training": self.training, "image_generation": self.image_generation}


class Wanted(NamedTuple):
    """One thing as it should be. What it refers to is known by label once that is there."""

    label: str
    kind: Kind
    name: str
    body: Callable[[Mapping[str, str]], Thing]


def load_declaration(path: Path = DECLARATION) -> Declaration:
    """Read a declaration. Raises InvalidRequest with file and field for a bad one."""
    try:
        return Declaration.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidRequest(f"{path} can't be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidRequest(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


def _environment(declared: Declaration, settings: Settings) -> dict[str, str]:
    values = {name: _value(settings, name) for name in [*declared.needed, *declared.optional]}
    if missing := [name for name in declared.needed if not values[name]]:
        raise InvalidRequest(f"The workers need {', '.join(missing)}.", "Set them and run the command again.")
    return {name: value for name, value in values.items() if value}


def _value(settings: Settings, name: str) -> str:
    given = getattr(settings, name.lower(), "")
    return given.get_secret_value() if isinstance(given, SecretStr) else str(given or "")


def all_wanted(declared: Declaration, settings: Settings) -> list[Wanted]:
    """Return all of it in the order it has to be made: an endpoint refers to its template and to the volume.

    Raises InvalidRequest naming what is missing in the environment.
    """
    environment = _environment(declared, settings)
    volume = declared.volume
    size = {"name": volume.name, "size": volume.size_gb, "dataCenter": volume.data_center}
    wanted = [Wanted("network volume", "network-volumes", volume.name, lambda ids: size)]
    parts = (("training", declared.training), ("image generation", declared.image_generation))
    for label, endpoint in parts:
        container = {
            "image": _image(endpoint.image, settings),
            "disk": endpoint.disk_gb,
            "env": environment | endpoint.environment,
        }
        wanted.append(_template(label, endpoint, container))
        wanted.append(_endpoint(label, endpoint, container, volume.data_center))
    return sorted(wanted, key=lambda each: each.kind == "serverless")


def _image(image: str, settings: Settings) -> str:
    if "/" in image:
        return image
    if not settings.dockerhub_username:
        raise InvalidRequest(
            f"Nobody knows whose image '{image}' is.", "Set DOCKERHUB_USERNAME to the account it was pushed to."
        )
    return f"{settings.dockerhub_username}/{image}"


def _template(label: str, endpoint: DeclaredEndpoint, container: Thing) -> Wanted:
    body = container | {
        "name": endpoint.name,
        "serverless": True,
        "public": False,
        "startSsh": False,
        "startJupyter": False,
    }
    return Wanted(f"{label} template", "templates", endpoint.name, lambda ids: body)


def _endpoint(label: str, endpoint: DeclaredEndpoint, container: Thing, data_center: str) -> Wanted:
    def body(ids: Mapping[str, str]) -> Thing:
        # The container's part is said again: an endpoint doesn't follow its template once it is made.
        return container | {
            "name": endpoint.name,
            "type": "QUEUE",
            "templateId": ids[f"{label} template"],
            "gpu": {"pools": endpoint.gpus, "count": 1, "minCudaVersion": endpoint.cuda_at_least},
            "workers": {
                "min": endpoint.workers_min,
                "max": endpoint.workers_max,
                "idleTimeout": endpoint.idle_timeout_s,
            },
            "scaling": {"type": "QUEUE_DELAY", "queueDelay": _QUEUE_DELAY_S},
            "timeout": endpoint.timeout_s * 1000,
            "networkVolumes": [ids["network volume"]],
            "dataCenterIds": [data_center],
            "flashboot": "FLASHBOOT",
        }

    return Wanted(f"{label} endpoint", "serverless", endpoint.name, body)
