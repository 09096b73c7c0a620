"""The `[diffusers]` block of a base model: how that engine trains it, beyond what every engine knows."""

import re
from typing import Literal

from pydantic import Field

from backend.base_models import read_block
from backend.contract import BaseModelSpec, Message
from backend.errors import BaseModelRejected

FAMILY = re.compile(r"flux(-.*)?")  # architectures the engine knows how to train
# Every linear layer inside the blocks of a FLUX transformer; a regular expression over module names.
BLOCK_LAYERS = (
    r"(single_)?transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
    r"|ff(_context)?\.net\.(0\.proj|2)|proj_mlp|proj_out)"
)


class DiffusersOptions(Message):
    """Defaults are for FLUX.1-dev."""

    guidance: float = Field(1.0, ge=0)  # the guidance embedding while training
    targets: str = BLOCK_LAYERS
    optimizer: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = Field(1e-4, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    warmup_steps: int = Field(20, ge=0)
    final_rate: float = Field(1.0, ge=0, le=1)  # what is left of the learning rate at the last step; 1 keeps it
    # How much noise is learned at: a share of it even, the rest a logistic bell of this centre and width.
    noise_even: float = Field(0.0, ge=0, le=1)
    noise_mean: float = 0.0
    noise_spread: float = Field(1.0, gt=0)
    mirror: bool = False  # learn from every picture's mirror image too
    # "declared" trains at the sizes the base model names only; "any" at every multiple of `size_multiple`.
    buckets: Literal["any", "declared"] = "any"
    prior_steps: int = Field(20, ge=1, le=150)
    prior_batch_size: int = Field(1, ge=1, le=64)  # prior pictures beside each batch
    prior_weight: float = Field(1.0, ge=0)
    # What a prior picture teaches: itself, or what the model without the LoRA would have done with it.
    prior_target: Literal["picture", "model"] = "picture"


def options_of(spec: BaseModelSpec) -> DiffusersOptions:
    """Return a base model's options. Raises BaseModelRejected for another family and for a misspelt option."""
    if not FAMILY.fullmatch(spec.architecture):
        raise BaseModelRejected(
            f"{spec.name} can't be trained here: the studio's own engine trains the FLUX.1 family only.",
            "Choose a FLUX.1 model, or train on RunPod or with an ai-toolkit of your own (ATELIER_TRAINING_ENGINE).",
        )
    return read_block(spec, "diffusers", DiffusersOptions)
