"""What of a foreign picture's settings can be used here: its base model and LoRAs, found by the names tools write."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from backend.contract import BaseModelSpec, LoraUse, file_stem
from backend.gallery.png_settings import PictureSettings
from backend.loras.loras import LoraChoice

# The same model in fewer bits: 'flux1-dev-fp8', 'flux1-dev-Q4_K_S', 'sd_xl_base_1.0_fp16'.
_PRECISION = re.compile(r"([-_ .](fp8|fp16|bf16|nf4|bnb|scaled|e4m3fn|e5m2|v2|q[2-8]([-_][0-9a-z])*))+$", re.IGNORECASE)


class Recognised(NamedTuple):
    """Settings, and what they name that is here."""

    settings: PictureSettings
    base_model: BaseModelSpec | None
    loras: list[LoraUse]
    missing: list[str]  # names of LoRAs that aren't here


def recognise(
    settings: PictureSettings, base_models: Iterable[BaseModelSpec], loras: Iterable[LoraChoice]
) -> Recognised:
    """Return the base model and the LoRAs that a picture's settings mean."""
    names = {_plain(settings.model), _plain(_PRECISION.sub("", settings.model))}
    base_model = next((spec for spec in base_models if names & _names_of(spec)), None)
    # A finished LoRA goes before a checkpoint of the same name: those come first.
    known = {name: lora.key for lora in loras for name in (_plain(lora.name), _plain(PurePosixPath(lora.key).stem))}
    uses, missing = [], []
    for lora in settings.loras:
        if key := known.get(_plain(lora.name)):
            uses.append(LoraUse(key=key, strength=lora.strength))
        else:
            missing.append(lora.name)
    return Recognised(settings, base_model, uses, missing)


def _names_of(spec: BaseModelSpec) -> set[str]:
    files = [PurePosixPath(weight.name or weight.file).stem for weight in spec.weights.comfyui]
    return {_plain(name) for name in (spec.id, spec.name, *files)}


def _plain(name: str) -> str:
    return file_stem(name).lower()
