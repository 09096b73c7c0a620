"""Which base model a LoRA was made for, told by the names and sizes of its layers: files seldom say it reliably."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from backend.contract import BaseModelSpec
from backend.errors import LoraRejected
from backend.lora_files import LoraHeader

_SIDE = re.compile(r"\.(lora_A|lora_B|lora_down|lora_up|lora\.down|lora\.up)(\.[^.]+)?(\.weight)?$")
_DOWN = ("lora_A", "lora_down", "lora.down")
# What trainers put before a layer's name.
_PREFIX = re.compile(r"^(base_model\.model\.)?(transformer\.|unet\.|diffusion_model\.|lora_unet_|lora_transformer_)?")


class Layer(NamedTuple):
    """One layer a LoRA changes, its name with '_' throughout as sd-scripts spells it."""

    name: str
    inputs: int
    outputs: int
    rank: int


class Family(NamedTuple):
    """LoRAs that have a layer of such a name, leading from so many numbers to so many; None takes any."""

    architecture: str  # as base models declare it; '' for one that none of ours has
    called: str
    layer: str
    inputs: int | None = None
    outputs: int | None = None


# The first that fits counts: what is narrower stands before what is wider.
FAMILIES = (
    Family("flux2-klein-4b", "FLUX.2 klein 4B", r"^single_transformer_blocks_\d+_attn_to_qkv_mlp_proj$", 3072),
    Family("flux2-klein-4b", "FLUX.2 klein 4B", r"^single_blocks_\d+_linear1$", 3072, 27648),
    Family("flux2-klein-4b", "FLUX.2 klein 4B", r"^double_blocks_\d+_(img|txt)_mlp_0$", 3072, 18432),
    Family("flux2-klein-4b", "FLUX.2 klein 4B", r"^transformer_blocks_\d+_ff(_context)?_linear_in$", 3072),
    Family("", "FLUX.2 [dev]", r"^(single_|double_)?(transformer_)?blocks_\d+_.*(qkv|to_q|linear1)", 6144),
    Family("", "Qwen-Image", r"^transformer_blocks_\d+_(img|txt)_m(lp|od)"),
    Family("", "Wan", r"^blocks_\d+_(self_attn|cross_attn)_"),
    Family("flux", "FLUX.1", r"^single_transformer_blocks_\d+_(attn_to_[qkv]|proj_mlp)$", 3072),
    Family("flux", "FLUX.1", r"^single_blocks_\d+_linear1$", 3072, 21504),
    Family("flux", "FLUX.1", r"^double_blocks_\d+_(img|txt)_(attn_qkv|mlp_0|attn_proj)$", 3072),
    Family("flux", "FLUX.1", r"^transformer_blocks_\d+_attn_(to|add)_", 3072),
    Family("flux-tiny", "Tiny FLUX", r"^(single_)?transformer_blocks_\d+_(attn_(to|add)_|proj_mlp$|ff_)", 256),
    Family("sd35-large", "Stable Diffusion 3.5 Large", r"^(joint|transformer)_blocks_\d+_", 2432),
    Family("", "Stable Diffusion 3 or 3.5 Medium", r"^(joint|transformer)_blocks_\d+_", 1536),
    Family("z-image", "Z-Image", r"^layers_\d+_attention_", 3840),
    Family("", "Lumina 2", r"^layers_\d+_attention_", 2304),
    Family("sdxl", "Stable Diffusion XL", r"attn2_to_k$", 2048),
    Family("", "Stable Diffusion 1.5", r"attn2_to_k$", 768),
    Family("", "Stable Diffusion 2", r"attn2_to_k$", 1024),
    Family("sdxl", "Stable Diffusion XL", r"^lora_te2_"),
    Family(
        "sdxl", "Stable Diffusion XL", r"^(down|up|input|output|mid|middle)_\w*blocks?_\w+transformer_blocks_[1-9]_"
    ),
)
_DECLARED = ("ss_base_model_version", "ss_sd_model_name", "modelspec.architecture", "base_model")


def base_model_of(header: LoraHeader, specs: Iterable[BaseModelSpec], name: str) -> BaseModelSpec:
    """Return the base model a LoRA is for. Raises LoraRejected, saying what it seems to be for instead."""
    known, said = list(specs), " ".join(header.metadata.get(key, "")[:200] for key in _DECLARED).lower()
    layers = layers_of(header)
    family = next((family for family in FAMILIES if any(_fits(layer, family) for layer in layers)), None)
    told = {each.architecture for each in FAMILIES}
    # One that this table has no row for goes by what the file says, as our own files do.
    fitting = [
        spec
        for spec in known
        if (spec.architecture == family.architecture if family else spec.architecture not in told and spec.id in said)
    ]
    if fitting:
        return next((spec for spec in fitting if _is_named(spec, said)), fitting[0])
    ours = ", ".join(sorted({spec.name for spec in known}))
    if family:
        raise LoraRejected(
            f"'{name}' was made for {family.called}, which this studio has no base model of.",
            f"Import a LoRA for one of: {ours}.",
        )
    first = layers[0] if layers else None
    example = f" Its first layer is '{first.name[:80]}', {first.inputs} to {first.outputs}." if first else ""
    raise LoraRejected(
        f"'{name}' was made for a base model that this studio doesn't know.{example}",
        f"Import a LoRA for one of: {ours}.",
    )


def layers_of(header: LoraHeader) -> list[Layer]:
    """Return the layers a LoRA changes, in the file's order."""
    sides: dict[str, dict[bool, list[int]]] = {}
    for key, tensor in header.tensors.items():
        if (part := _SIDE.search(key)) and len(tensor["shape"]) >= 2:
            name = _PREFIX.sub("", key[: part.start()], count=1).replace(".", "_")
            sides.setdefault(name, {})[part[1] in _DOWN] = tensor["shape"]
    return [
        Layer(name, inputs=pair[True][1], outputs=pair[False][0], rank=pair[True][0])
        for name, pair in sides.items()
        if len(pair) == 2
    ]


def rank_of(header: LoraHeader) -> int | None:
    """Return the rank most layers have."""
    ranks = Counter(layer.rank for layer in layers_of(header))
    return ranks.most_common(1)[0][0] if ranks else None


def _fits(layer: Layer, family: Family) -> bool:
    return (
        family.inputs in (None, layer.inputs)
        and family.outputs in (None, layer.outputs)
        and bool(re.search(family.layer, layer.name))
    )


def _is_named(spec: BaseModelSpec, said: str) -> bool:
    names = (spec.id, spec.weights.repo.lower(), spec.weights.repo.partition("/")[2].lower())
    return any(name and name in said for name in names)
