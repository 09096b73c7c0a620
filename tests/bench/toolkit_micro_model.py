"""Base models with random weights that ai-toolkit can train on a CPU: a FLUX, and an SDXL.

`python -m tests.bench.toolkit_micro_model FOLDER` writes both into FOLDER (ATELIER_BASE_MODELS).
"""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.micro_model import ID as MICRO_FLUX
from tests.micro_model import ROOT, TOKENIZERS, minute_clip, write_micro_base_model

ID = "toolkit-flux"
SDXL = "toolkit-sdxl"
_SHARED = """
size_multiple = 16
max_pixels = 65536
sample_prompts = ["a [trigger]", "a [trigger] on a red background"]

[licence]
name = "Apache-2.0"

[weights]
path = "snapshot"

[generation]
width = 128
height = 128
steps = 4
guidance = 3.5

[[sizes]]
name = "Square"
width = 128
height = 128

[training]
steps = 40
learning_rate = 1e-3
rank = 4
alpha = 4
resolution = [128]
save_every = 20
"""
_FLUX = f"""name = "Toolkit FLUX"
summary = "Random weights, for ai-toolkit on a CPU."
architecture = "flux-toolkit"
max_sequence_length = 24
{_SHARED}
[ai_toolkit.model]
arch = "flux"

[ai_toolkit.train]
noise_scheduler = "flowmatch"
timestep_type = "sigmoid"

[ai_toolkit.sample]
sampler = "flowmatch"
"""
_SDXL = f"""name = "Toolkit SDXL"
summary = "Random weights, for ai-toolkit on a CPU."
architecture = "sdxl-toolkit"
max_sequence_length = 77
negative_prompt = true
{_SHARED}
[ai_toolkit.model]
arch = "sdxl"

[ai_toolkit.train]
noise_scheduler = "ddpm"
min_snr_gamma = 5.0

[ai_toolkit.sample]
sampler = "ddpm"

[ai_toolkit.memory]
low_vram_below_gb = 0
quantize_below_gb = 0
cache_text_embeddings_below_gb = 0
"""


def write_toolkit_base_models(root: Path) -> None:
    """Write both into `root`, in a process of its own: torch stays out of this one."""
    subprocess.run([sys.executable, "-m", "tests.bench.toolkit_micro_model", root], check=True, cwd=ROOT, timeout=120)


def _write_flux(folder: Path) -> None:
    """The micro FLUX of the tests, with the kind of VAE that ai-toolkit loads."""
    from diffusers import AutoencoderKL

    write_micro_base_model(folder.parent)
    (folder.parent / MICRO_FLUX).rename(folder)
    (folder / "model.toml").write_text(_FLUX, encoding="utf-8")
    shutil.rmtree(folder / "snapshot" / "vae")
    AutoencoderKL(
        latent_channels=16,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8] * 4,
        norm_num_groups=4,
        scaling_factor=0.36,
        shift_factor=0.12,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).save_pretrained(folder / "snapshot" / "vae")


def _write_sdxl(folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    clip = minute_clip(layers=2)  # SDXL takes the last layer but one
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZERS / "tokenizer")
    pipeline = StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=[8] * 4,
            norm_num_groups=4,
        ),
        text_encoder=CLIPTextModel(clip),
        text_encoder_2=CLIPTextModelWithProjection(clip),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=8 * 6 + 32,
            cross_attention_dim=64,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        force_zeros_for_empty_prompt=True,
    )
    pipeline.save_pretrained(folder / "snapshot")
    (folder / "model.toml").write_text(_SDXL, encoding="utf-8")


if __name__ == "__main__":
    root = Path(sys.argv[1])
    _write_flux(root / ID)
    _write_sdxl(root / SDXL)
