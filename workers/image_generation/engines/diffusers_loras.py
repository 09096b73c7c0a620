"""LoRA files in a diffusers pipeline: read in any naming, checked layer by layer, loaded as adapters and switched."""

import json
import re
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import LoraRejected
from workers.image_generation.engines import LoraInUse

if TYPE_CHECKING:
    import torch

KEPT = 6  # adapters that stay loaded between requests
_PART = re.compile(r"^(?P<layer>.+)\.(?P<side>lora_A|lora_B)(\.[^.]+)?\.weight$")
_UNSUPPORTED = ("lora_magnitude_vector", "dora_scale", "lokr_", "hada_", "oft_", "diff_b")

Tensors = dict[str, "torch.Tensor"]


class Adapters:
    """The LoRAs loaded into one pipeline. Without any in use the pipeline calculates exactly what it did before."""

    def __init__(self, pipeline: Any, base_model: str) -> None:
        self._pipeline = pipeline
        self._base_model = base_model
        self._loaded: OrderedDict[str, None] = OrderedDict()  # adapter names, least recently used first

    def use(self, loras: list[LoraInUse]) -> None:
        """Let these act, and no others; a LoRA of strength 0 is left out. Raises LoraRejected."""
        strengths: dict[str, float] = {}
        for lora in loras:
            name = f"lora_{lora.content_hash}"
            strengths[name] = strengths.get(name, 0.0) + lora.strength
            if lora.strength:
                self._load(name, lora)
        active = {name: strength for name, strength in strengths.items() if strength}
        if active:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters(list(active), list(active.values()))
        elif self._loaded:
            self._pipeline.disable_lora()
        self._forget_oldest(keep=set(active))

    def _load(self, name: str, lora: LoraInUse) -> None:
        if name not in self._loaded:
            tensors = in_diffusers_naming(read_lora(lora.path, lora.name), self._pipeline, lora.name)
            check_fits(tensors, self._pipeline, lora.name, self._base_model)
            self._pipeline.load_lora_weights(tensors, adapter_name=name)
            self._loaded[name] = None
        self._loaded.move_to_end(name)

    def _forget_oldest(self, keep: set[str]) -> None:
        surplus = len(self._loaded) - KEPT
        for name in [name for name in self._loaded if name not in keep][: max(0, surplus)]:
            self._pipeline.delete_adapters(name)
            del self._loaded[name]


def read_lora(path: Path, name: str) -> Tensors:
    """Return a file's tensors, with what its alphas mean already in them. Raises LoraRejected."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors: Tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise LoraRejected(f"The LoRA '{name}' can't be read: {error}.", "Upload it again.") from error
    if kind := next((word for word in _UNSUPPORTED for key in tensors if word in key), None):
        raise LoraRejected(
            f"'{name}' is of a kind other than LoRA ('{kind.strip('_')}' in it), which this engine can't load.",
            "Save it as a plain LoRA.",
        )
    if any(key.startswith(("lora_unet_", "lora_te")) for key in tensors):
        return tensors  # kohya's own naming: its converter in diffusers heeds the alphas
    return _scaled({_plain(key): tensor for key, tensor in tensors.items()}, metadata)


def in_diffusers_naming(tensors: Tensors, pipeline: Any, name: str) -> Tensors:
    """Return the tensors under the names that diffusers gives to the layers. Raises LoraRejected."""
    denoiser = getattr(pipeline, "transformer_name", None) or pipeline.unet_name
    renamed = {_with_component(key, pipeline, denoiser): tensor for key, tensor in tensors.items()}
    try:
        converted = type(pipeline).lora_state_dict(renamed)
    except Exception as error:  # the converters raise whatever an unforeseen key leads to
        raise LoraRejected(
            f"The names in the LoRA '{name}' are not understood ({type(error).__name__}: {error}).",
            "Export it in diffusers or kohya format.",
        ) from error
    if isinstance(converted, tuple):  # SDXL's and SD 3's converters hand alphas back on their own
        converted = _scaled(converted[0] | (converted[1] or {}), {})
    named = {_text_layer(_with_component(key, pipeline, denoiser), pipeline): converted[key] for key in converted}
    _check_text_layers_kept(tensors, named, name)
    return named


def check_fits(tensors: Tensors, pipeline: Any, name: str, base_model: str) -> None:
    """Raise LoraRejected, naming the LoRA and its first wrong layer, unless every layer finds its place."""
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        part = _PART.match(key)
        layer, side = (part["layer"], part["side"]) if part else (key, "?")
        layers.setdefault(layer, {})[side] = tensor
    problems = [problem for layer, sides in layers.items() if (problem := _misfit(layer, sides, pipeline))]
    if not layers or len(problems) == len(layers):
        example = f" For example, {problems[0]}." if problems else ""
        raise LoraRejected(
            f"The LoRA '{name}' was made for another base model than {base_model}.{example}", "Choose another LoRA."
        )
    if problems:
        raise LoraRejected(
            f"{len(problems)} of {len(layers)} layers of the LoRA '{name}' don't fit {base_model}: {problems[0]}.",
            "Choose a LoRA that was trained on this base model.",
        )


def _misfit(layer: str, sides: Tensors, pipeline: Any) -> str:
    """Say what is wrong with a layer; nothing when it fits."""
    component, _, path = layer.partition(".")
    try:
        module = getattr(pipeline, component).get_submodule(path)
    except AttributeError:
        return f"there is no layer '{layer}'"
    if set(sides) != {"lora_A", "lora_B"}:
        return f"'{layer}' is not one pair of lora_A and lora_B"
    outputs, inputs = module.weight.shape[:2]
    down, up = sides["lora_A"].shape, sides["lora_B"].shape
    if (up[0], down[1]) != (outputs, inputs):
        return f"'{layer}' is {outputs}x{inputs}, not {up[0]}x{down[1]}"
    return "" if down[0] == up[1] else f"the halves of '{layer}' have ranks {down[0]} and {up[1]}"


def _plain(key: str) -> str:
    """Return a key without what PEFT and others wrap around the layer's name."""
    key = key.removeprefix("base_model.model.").removeprefix("diffusion_model.")
    key = re.sub(r"\.lora_down(?=\.)|\.lora\.down(?=\.)", ".lora_A", key)
    key = re.sub(r"\.lora_up(?=\.)|\.lora\.up(?=\.)", ".lora_B", key)
    return re.sub(r"\.(lora_[AB])\.[^.]+\.weight$", r".\1.weight", key)


def _with_component(key: str, pipeline: Any, denoiser: str) -> str:
    if key.startswith("lora_") or key.partition(".")[0] in pipeline.components:
        return key
    if key.startswith(("double_blocks.", "single_blocks.")):
        # The names of Black Forest Labs' own code: diffusers converts them in kohya's spelling.
        layer, _, side = key.partition(".lora_")
        return f"lora_unet_{layer.replace('.', '_')}.lora_{'down' if side.startswith('A') else 'up'}.weight"
    return f"{denoiser}.{key}"


def _text_layer(key: str, pipeline: Any) -> str:
    """Return a text encoder's key as its layers are called: what the converters give, the loader partly overlooks."""
    component, _, path = key.partition(".")
    if not component.startswith("text_encoder"):
        return key
    if not hasattr(getattr(pipeline, component), "text_model"):  # transformers 5 took this level away
        path = path.removeprefix("text_model.")
    path = re.sub(r"\.to_([qkv]|out)_lora\.", r".\1_proj.lora.", path).replace(".lora_linear_layer.", ".lora.")
    return f"{component}.{path.replace('.lora.down.', '.lora_A.').replace('.lora.up.', '.lora_B.')}"


def _check_text_layers_kept(before: Tensors, after: Tensors, name: str) -> None:
    """Raise LoraRejected where the converter left out layers of an encoder that it doesn't know, such as T5."""
    given = sum(key.startswith("lora_te") and key.endswith(".lora_up.weight") for key in before)
    kept = sum(key.startswith("text_encoder") and key.endswith(".lora_B.weight") for key in after)
    if kept < given:
        raise LoraRejected(
            f"{given - kept} layers of the LoRA '{name}' are for a text encoder that this engine can't change.",
            "Train it without text encoders.",
        )


def _scaled(tensors: Tensors, metadata: dict[str, str]) -> Tensors:
    """Return the tensors with alpha / rank multiplied in, and without alphas, so that nothing can overlook them."""
    alphas = {key.removesuffix(".alpha"): float(value) for key, value in tensors.items() if key.endswith(".alpha")}
    weights = {key: value for key, value in tensors.items() if not key.endswith(".alpha")}
    for key, tensor in weights.items():
        part = _PART.match(key)
        if part and part["side"] == "lora_B":
            rank = tensor.shape[1]
            alpha = alphas.get(part["layer"], _alpha_in(metadata, part["layer"], rank))
            if alpha != rank:
                weights[key] = tensor.float() * (alpha / rank)
    return weights


def _alpha_in(metadata: dict[str, str], layer: str, rank: int) -> float:
    """Return the alpha that diffusers or PEFT wrote beside the tensors, else the rank."""
    try:
        written = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        return rank
    component, _, path = layer.partition(".")
    declared = {key.removeprefix(f"{component}."): value for key, value in written.items()}
    patterns = declared.get("alpha_pattern") or {}
    exact = next((value for pattern, value in patterns.items() if path == pattern.lstrip("^")), None)
    alpha = float(exact if exact is not None else declared.get("lora_alpha") or rank)
    return alpha * rank**0.5 if declared.get("use_rslora") else alpha
