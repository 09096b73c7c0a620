"""A FLUX with random weights, complete and minute: for journeys where the picture doesn't matter.

`python -m tests.micro_model FOLDER` writes the base model `micro-flux` into FOLDER, which takes the place of
assets/base_models (ATELIER_BASE_MODELS).
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTextConfig

ROOT = Path(__file__).parents[1]
TOKENIZERS = ROOT / "assets" / "base_models" / "tiny-flux" / "snapshot"
ID = "micro-flux"
MODEL_TOML = """
name = "Micro FLUX"
summary = "Random weights, for tests."
architecture = "flux-micro"
size_multiple = 16
max_pixels = 16384
max_sequence_length = 24
sample_prompts = ["a [trigger]", "a [trigger] on a red background"]
prior_prompts = ["a cat", "a dog", "a house"]

[licence]
name = "Apache-2.0"

[weights]
path = "snapshot"

[generation]
width = 64
height = 64
steps = 2
guidance = 3.5

[[sizes]]
name = "Square"
width = 64
height = 64

[training]
steps = 40
learning_rate = 2e-2
rank = 4
alpha = 4
resolution = [64]
batch_size = 3
save_every = 20
caption_dropout = 0.1
prior_preservation = true

[diffusers]
guidance = 3.5
prior_steps = 2
prior_batch_size = 2
"""


def write_micro_base_model(root: Path) -> None:
    """Write the base model into `root`, in a process of its own: torch stays out of this one."""
    subprocess.run([sys.executable, "-m", "tests.micro_model", root], check=True, cwd=ROOT, timeout=120)


def minute_clip(layers: int) -> "CLIPTextConfig":
    """Return what a text encoder is made of that reads the tiny FLUX's first tokenizer."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=1764,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _write(folder: Path) -> None:
    import torch
    from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(0)
    snapshot = folder / "snapshot"
    snapshot.mkdir(parents=True)
    (folder / "model.toml").write_text(MODEL_TOML, encoding="utf-8")
    for part in ("tokenizer", "tokenizer_2"):
        shutil.copytree(TOKENIZERS / part, snapshot / part)
    shutil.copy(TOKENIZERS / "model_index.json", snapshot)
    FlowMatchEulerDiscreteScheduler.from_pretrained(TOKENIZERS, subfolder="scheduler").save_pretrained(
        snapshot / "scheduler"
    )
    FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    ).save_pretrained(snapshot / "transformer")
    AutoencoderTiny(
        latent_channels=16,
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
        shift_factor=0.0,
        scaling_factor=1.0,
    ).save_pretrained(snapshot / "vae")
    CLIPTextModel(minute_clip(layers=1)).save_pretrained(snapshot / "text_encoder")
    t5 = T5Config(
        vocab_size=1536, d_model=32, d_kv=16, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    T5EncoderModel(t5).save_pretrained(snapshot / "text_encoder_2")


if __name__ == "__main__":
    _write(Path(sys.argv[1]) / ID)
