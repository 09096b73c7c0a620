"""Write the trained networks as a folder that the stock FluxPipeline loads."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, FluxPipeline
from tokenization import Tokenizers
from torch import nn

MAX_SHARD_SIZE = "9MB"  # a file in git stays under 10 MB
_TRAINING_TIME_KEYS = (
    "max_length",
    "stride",
    "pad_to_multiple_of",
    "truncation_side",
    "truncation_strategy",
    "is_local",
    "local_files_only",
)


def export_pipeline(
    models: nn.ModuleDict,
    vae: AutoencoderTiny,
    tokenizers: Tokenizers,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Save `transformer`, `t5` and `clip` with the VAE, the tokenizers and FLUX.1-dev's scheduler."""
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )
    pipeline = FluxPipeline(
        scheduler=scheduler,
        vae=_detached(vae),
        text_encoder=_detached(models["clip"]),
        tokenizer=tokenizers.clip,
        text_encoder_2=_detached(models["t5"]),
        tokenizer_2=tokenizers.t5,
        transformer=_detached(models["transformer"]),
    ).to(dtype)
    pipeline.save_pretrained(folder)
    for file in (folder / "transformer").glob("*safetensors*"):
        file.unlink()
    pipeline.transformer.save_pretrained(folder / "transformer", max_shard_size=MAX_SHARD_SIZE)
    _make_readable_by_transformers_4(folder)


def _detached(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format)


def _make_readable_by_transformers_4(folder: Path) -> None:
    """Use the class name that both versions know, drop what training left behind, and add CLIP's two older files."""

    def name_tokenizer(index: dict[str, Any]) -> None:
        index["tokenizer_2"] = ["transformers", "PreTrainedTokenizerFast"]
        index.pop("_name_or_path", None)

    def clean(config: dict[str, Any]) -> None:
        for key in _TRAINING_TIME_KEYS:
            config.pop(key, None)

    _edit_json(folder / "model_index.json", name_tokenizer)
    for name in ("tokenizer", "tokenizer_2"):
        _edit_json(folder / name / "tokenizer.json", lambda content: content.update(truncation=None, padding=None))
        _edit_json(folder / name / "tokenizer_config.json", clean)
    _edit_json(
        folder / "tokenizer_2" / "tokenizer_config.json",
        lambda config: config.update(tokenizer_class="PreTrainedTokenizerFast"),
    )
    clip = folder / "tokenizer"
    model = json.loads((clip / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (clip / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (clip / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def _edit_json(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    edit(content)
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
