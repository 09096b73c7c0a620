"""What a studio in the cloud has to be told before it can work, and where to get it."""

from importlib.util import find_spec
from typing import NamedTuple

from pydantic import SecretStr

from backend.settings import Settings


class Requirement(NamedTuple):
    """Variables that come from one place."""

    title: str
    variables: tuple[str, ...]
    how: str
    link: str


_REQUIREMENTS = (
    Requirement(
        "RunPod key",
        ("RUNPOD_API_KEY",),
        "RunPod has the GPUs. Make a key that may read and write, and add some credit.",
        "https://console.runpod.io/user/settings",
    ),
    Requirement(
        "RunPod endpoints",
        ("RUNPOD_TRAINING_ENDPOINT_ID", "RUNPOD_IMAGE_GENERATION_ENDPOINT_ID"),
        "“atelier deploy” on your own computer makes both and prints their ids.",
        "https://console.runpod.io/serverless",
    ),
    Requirement(
        "Cloudflare R2",
        ("R2_ACCOUNT_ID", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY"),
        "Everything you make is kept there. Make the buckets atelier-loras and atelier-outputs, or name your own in "
        "R2_LORA_BUCKET and R2_OUTPUT_BUCKET, and a token that may read and write both.",
        "https://dash.cloudflare.com/?to=/:account/r2",
    ),
)


def missing(settings: Settings) -> list[Requirement]:
    """Return what isn't set, each with those of its variables that aren't."""
    lacking = []
    for requirement in _REQUIREMENTS:
        names = tuple(name for name in requirement.variables if not _is_set(settings, name))
        if names:
            lacking.append(requirement._replace(variables=names))
    return lacking


def is_begun(settings: Settings) -> bool:
    """Return whether somebody has set any of it."""
    return any(_is_set(settings, name) for requirement in _REQUIREMENTS for name in requirement.variables)


def can_run_locally() -> bool:
    """Return whether the local machine is installed, with which a studio needs nothing of the cloud."""
    return all(find_spec(name) for name in ("workers", "torch", "diffusers"))


def _is_set(settings: Settings, name: str) -> bool:
    if name == "R2_ACCOUNT_ID" and settings.r2_endpoint_url:
        return True
    value = getattr(settings, name.lower())
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)
