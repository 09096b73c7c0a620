"""LoRA files where ComfyUI finds them: under their content's hash, never overwritten, in names and alphas it heeds."""

import json
import os
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO

from workers.image_generation.engines import LoraInUse

KEPT = 64  # files in the folder that are ours
_OURS = re.compile(r"[0-9a-f]{64}\.safetensors")
_PEFT = "base_model.model."
_DOWN = re.compile(r"^(?P<layer>.+)\.lora_A(\.[^.]+)?\.weight$")
# A UNet's layer in diffusers' naming, which ComfyUI takes with underscores alone; its attention processors it knows.
_OF_UNET = re.compile(
    r"^(base_model\.model\.)?(unet\.)?"
    r"(?P<layer>(down_blocks|mid_block|up_blocks|conv_|time_emb|add_emb)(?!.*\.processor\.).*)"
    r"(?P<end>\.(lora_[AB](\.[^.]+)?|lora\.(down|up))\.weight)$"
)
_COPIED_AT_ONCE = 2**20  # bytes

Header = dict[str, dict[str, Any]]


def place_lora(lora: LoraInUse, folder: Path) -> str:
    """Put a LoRA into ComfyUI's folder and return its name there: a link, or a rewritten copy where ComfyUI needs one.

    The name stands for the content, so a file that is there is never touched: ComfyUI may have it mapped into memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{lora.content_hash}.safetensors"
    target = folder / name
    if target.exists():  # false for a link to a file that the cache has let go
        os.utime(target)
        return name
    with lora.path.open("rb") as file:
        header, metadata = read_header(file)
        renamed, alphas = renames(header), missing_alphas(header, metadata)
        with NamedTemporaryFile(dir=folder, prefix="placing-", delete=False) as partial:
            if renamed or alphas:
                _rewrite(file, partial, header, metadata, renamed, alphas)
    temporary = Path(partial.name)
    if not renamed and not alphas:
        temporary.unlink()
        temporary.symlink_to(lora.path.resolve())
    temporary.replace(target)
    return name


def tidy(folder: Path, keep: Iterable[str]) -> None:
    """Remove the files of ours that were used longest ago, beyond a number."""
    ours = [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
    ours.sort(key=lambda path: path.lstat().st_mtime_ns, reverse=True)
    for path in ours[KEPT:]:
        if path.name not in set(keep):
            path.unlink(missing_ok=True)


def read_header(file: BinaryIO) -> tuple[Header, dict[str, str]]:
    """Return the tensors of a safetensors file by name, and its metadata, leaving it at its first byte of data."""
    length = int.from_bytes(file.read(8), "little")
    header: Header = json.loads(file.read(length))
    metadata: dict[str, str] = header.pop("__metadata__", {})
    return header, metadata


def tensor_names(path: Path) -> set[str]:
    """Return the names of a file's tensors, as ComfyUI would call them in its log."""
    with path.open("rb") as file:
        header, _ = read_header(file)
    changed = renames(header)
    return {changed.get(name, name) for name in header}


def renames(header: Header) -> dict[str, str]:
    """Return new names for the tensors that ComfyUI would pass over in silence: raw PEFT's, and those of UNets."""
    changed = {name: f"transformer.{name.removeprefix(_PEFT)}" for name in header if name.startswith(_PEFT)}
    for name in header:
        if unet := _OF_UNET.match(name):
            changed[name] = f"lora_unet_{unet['layer'].replace('.', '_')}{unet['end']}"
    return changed


def missing_alphas(header: Header, metadata: Mapping[str, str]) -> dict[str, float]:
    """Return the alphas that stand only in the metadata, where ComfyUI does not look, by the name of their tensor."""
    try:
        declared: dict[str, Any] = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        return {}
    changed = renames(header)
    found: dict[str, float] = {}
    for name, tensor in header.items():
        part = _DOWN.match(name)
        if not part or f"{part['layer']}.alpha" in header:
            continue
        rank = tensor["shape"][0]
        alpha = _alpha_in(declared, part["layer"].removeprefix(_PEFT), rank)
        if alpha != rank:
            layer = _DOWN.match(changed.get(name, name))
            found[f"{layer['layer'] if layer else part['layer']}.alpha"] = alpha
    return found


def _alpha_in(declared: Mapping[str, Any], layer: str, rank: int) -> float:
    """Return what diffusers or PEFT wrote for a layer, else the rank."""
    component = layer.partition(".")[0]
    own = {key.removeprefix(f"{component}."): value for key, value in declared.items()}
    patterns = own.get("alpha_pattern") or {}
    path = layer.removeprefix(f"{component}.")
    exact = next((value for pattern, value in patterns.items() if pattern.lstrip("^") in (path, layer)), None)
    alpha = float(exact if exact is not None else own.get("lora_alpha") or rank)
    return float(alpha * rank**0.5) if own.get("use_rslora") else alpha


def _rewrite(
    source: BinaryIO,
    target: Any,
    header: Header,
    metadata: Mapping[str, str],
    renamed: Mapping[str, str],
    alphas: Mapping[str, float],
) -> None:
    """Write a file anew under other names and with more alphas. The tensors' bytes stay as they are, in any format."""
    end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    written: dict[str, Any] = {renamed.get(name, name): tensor for name, tensor in header.items()}
    for name in alphas:
        written[name] = {"dtype": "F32", "shape": [], "data_offsets": [end, end + 4]}
        end += 4
    # The alphas are in the tensors now: said twice, they might be heeded twice.
    kept = {name: text for name, text in metadata.items() if name != "lora_adapter_metadata"}
    if kept:
        written["__metadata__"] = kept
    text = json.dumps(written).encode()
    text += b" " * (-len(text) % 8)
    target.write(len(text).to_bytes(8, "little") + text)
    while chunk := source.read(_COPIED_AT_ONCE):
        target.write(chunk)
    target.write(b"".join(struct.pack("<f", alpha) for alpha in alphas.values()))
