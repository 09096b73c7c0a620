"""Loads a base model's diffusers pipeline for both workers, on the best device there is. Its use is theirs."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from backend.errors import WeightsError

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline


def best_device() -> "tuple[torch.device, torch.dtype]":
    """Return where models run and in which number format: CUDA if there is one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda"), torch.bfloat16
    # Without the instructions for it, bfloat16 on a CPU is emulated and several times slower than float32.
    has_bfloat16 = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.device("cpu"), torch.bfloat16 if has_bfloat16 else torch.float32


def load_pipeline(
    folder: Path, device: "torch.device", dtype: "torch.dtype", without: Collection[str] = ()
) -> "DiffusionPipeline":
    """Return the pipeline saved in `folder`, ready on `device`, leaving out the components named in `without`.

    Nothing is downloaded. A pipeline too large for the GPU is moved there part by part while it works.
    Raises WeightsError when the folder can't be read.
    """
    import torch
    from diffusers import DiffusionPipeline

    # FluxPipeline expects another class of VAE than the tiny model's, says so at every load, and works with it.
    logging.getLogger("diffusers.pipelines.pipeline_utils").setLevel(logging.ERROR)
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            folder, dtype=dtype, local_files_only=True, **dict.fromkeys(without)
        )
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"The model in {folder.name} can't be loaded: {error}", "Fetch its weights again."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    if device.type == "cuda" and _bytes_of(pipeline) > 0.9 * torch.cuda.mem_get_info()[0]:
        pipeline.enable_model_cpu_offload()
    else:
        pipeline.to(device)
    return pipeline


def _bytes_of(pipeline: "DiffusionPipeline") -> int:
    import torch

    modules = (part for part in pipeline.components.values() if isinstance(part, torch.nn.Module))
    return sum(tensor.numel() * tensor.element_size() for module in modules for tensor in module.parameters())
