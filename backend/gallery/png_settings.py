"""How a picture was made, read from the text that tools leave in a PNG: ours, and those of the tools named below.

Files come from anywhere: nothing of their pixels is decoded, and every value is checked before it is believed.
"""

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from backend.contract import MAX_PROMPT, MAX_SEED
from backend.errors import InvalidRequest
from backend.gallery.comfyui_graph import made_by_graph

MOST_BYTES = 64 * 2**20  # of a file
_MOST_TEXT = 2 * 2**20  # characters of one text
_MOST_LORAS = 8
_LORA_TAG = re.compile(r"<lora:([^:<>]{1,200}):(-?[0-9]*\.?[0-9]+)(?::[^<>]{0,200})?>")
_A1111_LINE = re.compile(r"\s*(?P<key>[A-Za-z0-9 _\-/]{1,60}):\s*(?P<value>\"(?:\\.|[^\\\"])*\"|[^,]*)(?:,|$)")
_SIZE = re.compile(r"([0-9]{1,5})\s*x\s*([0-9]{1,5})")


class NamedLora(NamedTuple):
    """A LoRA by the name its tool knows it by."""

    name: str
    strength: float


class PictureSettings(NamedTuple):
    """How a picture was made, as far as it says; None is what it doesn't."""

    tool: str
    prompt: str = ""
    negative_prompt: str = ""
    model: str = ""
    loras: tuple[NamedLora, ...] = ()
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    width: int | None = None  # pixels
    height: int | None = None


def read_png(path: Path) -> PictureSettings:
    """Return how a PNG file says it was made. Raises InvalidRequest for other files, and for one that doesn't say."""
    return settings_in(texts_in(path))


def texts_in(path: Path) -> dict[str, str]:
    """Return the texts in a PNG file that stand before its pixels. Raises InvalidRequest for what is no PNG."""
    if path.stat().st_size > MOST_BYTES:
        raise InvalidRequest(f"This file is over {MOST_BYTES // 2**20} MB.", "Drop a smaller picture.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its pixels stay packed
            with Image.open(path, formats=("PNG",)) as image:
                found = dict(image.info)  # `image.text` would decode the pixels to look behind them
    except Exception as error:  # Pillow raises what its decoders happen to raise
        raise InvalidRequest(
            "This isn't a readable PNG.", "Other formats, and screenshots, don't keep how they were made."
        ) from error
    return {str(name): text for name, text in found.items() if isinstance(text, str) and len(text) <= _MOST_TEXT}


def settings_in(texts: Mapping[str, str]) -> PictureSettings:
    """Return what the texts of a PNG say. Raises InvalidRequest when none is of a tool we know."""
    readers = (
        ("invokeai_metadata", _invokeai),
        ("parameters", _swarmui),
        ("parameters", _a1111),
        ("prompt", _comfyui),
        ("sd-metadata", _old_invokeai),
    )
    for name, read in readers:
        if text := texts.get(name):
            try:
                found = read(text)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue
            if found and (found.prompt or found.seed is not None):
                by_us = "LoRA Atelier" in texts.get("XML:com.adobe.xmp", "") and name in ("parameters", "prompt")
                # Ours comes back to the letter, so that it draws the same again.
                return found._replace(tool="LoRA Atelier") if by_us else _tidied(found)
    raise InvalidRequest(
        "This PNG doesn't say how it was made.",
        "Pictures from this studio, AUTOMATIC1111, Forge, ComfyUI, SwarmUI and InvokeAI do, unless a site has "
        "stripped it off.",
    )


def _tidied(made: PictureSettings) -> PictureSettings:
    """Return the settings without the commas that tags of LoRAs stood between."""
    return made._replace(prompt=re.sub(r",(\s*,)+", ",", made.prompt).strip(" ,")) if made.loras else made


# ------------------------------------------------------------------------------------------------ tools


def _a1111(text: str) -> PictureSettings:
    """Prompt, 'Negative prompt: …', and a last line of settings: 'Steps: 20, Sampler: Euler, …'."""
    lines = text.strip().split("\n")
    settings: dict[str, str] = {}
    if re.search(r"\bSteps: ?[0-9]", lines[-1]):
        settings = {match["key"].strip(): _unquoted(match["value"]) for match in _A1111_LINE.finditer(lines.pop())}
    prompt, _, negative = "\n".join(lines).partition("Negative prompt:")
    size = _SIZE.fullmatch(settings.get("Size", ""))
    plain, loras = _without_tags(prompt)
    return PictureSettings(
        tool="Forge" if settings.get("Version", "").startswith("f") else "AUTOMATIC1111",
        prompt=plain,
        negative_prompt=_prompt(negative),
        model=settings.get("Model", "")[:200],
        loras=loras,
        seed=_seed(settings.get("Seed")),
        steps=_whole(settings.get("Steps"), 150),
        # Forge writes FLUX's own guidance beside a CFG scale of 1.
        guidance=_number(settings.get("Distilled CFG Scale", settings.get("CFG scale")), 30),
        width=_whole(size[1], 4096) if size else None,
        height=_whole(size[2], 4096) if size else None,
    )


def _swarmui(text: str) -> PictureSettings:
    """{"sui_image_params": {"prompt": …, "loras": [name], "loraweights": ["0.8"], …}}, or it is another tool's."""
    made = json.loads(text)["sui_image_params"]
    pairs = zip(made.get("loras") or [], made.get("loraweights") or [], strict=False)
    return PictureSettings(
        tool="SwarmUI",
        prompt=_prompt(made.get("prompt")),
        negative_prompt=_prompt(made.get("negativeprompt")),
        model=_stem(str(made.get("model", ""))),
        loras=tuple(
            NamedLora(_stem(str(name)), strength)
            for name, weight in pairs
            if (strength := _strength(weight)) is not None
        )[:_MOST_LORAS],
        seed=_seed(made.get("seed")),
        steps=_whole(made.get("steps"), 150),
        guidance=_number(made.get("fluxguidancescale", made.get("cfgscale")), 30),
        width=_whole(made.get("width"), 4096),
        height=_whole(made.get("height"), 4096),
    )


def _comfyui(text: str) -> PictureSettings:
    """The graph in the API format: {"3": {"class_type": "KSampler", "inputs": {…}}, …}."""
    made = made_by_graph(json.loads(text))
    plain, loras = _without_tags(str(made.get("prompt", "")))
    named = tuple(
        NamedLora(_stem(name), strength)
        for name, weight in made["loras"]
        if (strength := _strength(weight)) is not None
    )
    return PictureSettings(
        tool="ComfyUI",
        prompt=plain,
        negative_prompt=_prompt(made.get("negative_prompt")),
        model=_stem(str(made.get("model", ""))),
        loras=(*named, *loras)[:_MOST_LORAS],
        seed=_seed(made.get("seed")),
        steps=_whole(made.get("steps"), 150),
        guidance=_number(made.get("guidance"), 30),
        width=_whole(made.get("width"), 4096),
        height=_whole(made.get("height"), 4096),
    )


def _invokeai(text: str) -> PictureSettings:
    """InvokeAI's own dictionary; a model is {"name": …} in version 4 and {"model_name": …} before."""
    made = json.loads(text)
    loras = [_invokeai_lora(each) for each in made.get("loras") or []]
    return PictureSettings(
        tool="InvokeAI",
        prompt=_prompt(made.get("positive_prompt")),
        negative_prompt=_prompt(made.get("negative_prompt")),
        model=_invokeai_name(made.get("model")),
        loras=tuple(each for each in loras if each)[:_MOST_LORAS],
        seed=_seed(made.get("seed")),
        steps=_whole(made.get("steps"), 150),
        # FLUX's own guidance stands beside a cfg_scale of 1.
        guidance=_number(made.get("cfg_scale") if made.get("guidance") is None else made["guidance"], 30),
        width=_whole(made.get("width"), 4096),
        height=_whole(made.get("height"), 4096),
    )


def _old_invokeai(text: str) -> PictureSettings:
    """InvokeAI 2: {"model_weights": …, "image": {"prompt": [{"prompt": …}], "seed": …}}."""
    said = json.loads(text)
    made = said["image"]
    prompt = made["prompt"][0]["prompt"] if isinstance(made["prompt"], list) else made["prompt"]
    return PictureSettings(
        tool="InvokeAI",
        prompt=_prompt(prompt),
        model=str(said.get("model_weights", ""))[:200],
        seed=_seed(made.get("seed")),
        steps=_whole(made.get("steps"), 150),
        guidance=_number(made.get("cfg_scale"), 30),
        width=_whole(made.get("width"), 4096),
        height=_whole(made.get("height"), 4096),
    )


def _invokeai_lora(said: dict[str, Any]) -> NamedLora | None:
    name = _invokeai_name(said.get("model") or said.get("lora"))
    strength = _strength(said.get("weight", 1))
    return NamedLora(name, strength) if name and strength is not None else None


def _invokeai_name(model: Any) -> str:
    return str(model.get("name") or model.get("model_name") or "")[:200] if isinstance(model, dict) else ""


# ------------------------------------------------------------------------------------------------ values


def _without_tags(prompt: str) -> tuple[str, tuple[NamedLora, ...]]:
    """Return a prompt without its '<lora:name:0.8>', and those."""
    loras = [
        NamedLora(name, strength)
        for name, weight in _LORA_TAG.findall(prompt)
        if (strength := _strength(weight)) is not None
    ]
    return _prompt(_LORA_TAG.sub("", prompt)), tuple(loras[:_MOST_LORAS])


def _prompt(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(each for each in text if each.isprintable() or each == "\n").strip()[:MAX_PROMPT]


def _seed(value: Any) -> int | None:
    return _whole(value, MAX_SEED, least=0)


def _whole(value: Any, most: int, least: int = 1) -> int | None:
    if isinstance(value, bool) or not re.fullmatch("[0-9]{1,20}", str(value).strip()):
        return None
    number = int(value)
    return number if least <= number <= most else None


def _number(value: Any, most: float) -> float | None:
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,20})?", str(value).strip()):
        return None
    return min(float(value), most)


def _strength(value: Any) -> float | None:
    if (
        isinstance(value, bool)
        or not re.fullmatch(r"-?([0-9]{1,3})?(\.[0-9]{1,20})?", str(value).strip())
        or str(value).strip() in ("", "-")
    ):
        return None
    return max(-4.0, min(4.0, float(value)))


def _stem(name: str) -> str:
    return re.sub(r"\.(safetensors|ckpt|pt|sft|gguf)$", "", name.replace("\\", "/").rpartition("/")[2])[:200]


def _unquoted(value: str) -> str:
    value = value.strip()
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value
