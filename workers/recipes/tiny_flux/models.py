"""The four networks of the pipeline, how they are called while they train, and the noise levels they train on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, FluxTransformer2DModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel


def build_vae(channels: int = 48, scale: float = 1.0, shift: float = 0.0) -> AutoencoderTiny:
    """Return an untrained VAE with 16 latent channels and a factor of 8."""
    return AutoencoderTiny(
        encoder_block_out_channels=(channels,) * 4,
        decoder_block_out_channels=(channels,) * 4,
        latent_channels=16,
        num_encoder_blocks=(0, 1, 2, 3),
        num_decoder_blocks=(3, 3, 2, 1),
        scaling_factor=scale,
        shift_factor=shift,
    )


def load_vae(file: Path) -> AutoencoderTiny:
    """Return what train_vae.py saved, frozen."""
    saved = torch.load(file, map_location="cpu")
    vae = build_vae(saved["channels"], saved["scale"], saved["shift"])
    vae.load_state_dict(saved["model"])
    return vae.eval().requires_grad_(False)


def build_models(
    t5_vocabulary: int, clip_vocabulary: int, heads: int = 2, double_blocks: int = 1, single_blocks: int = 4
) -> torch.nn.ModuleDict:
    """Return an untrained `transformer`, `t5` and `clip`. Each head adds 128 to the transformer's width."""
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=double_blocks,
        num_single_layers=single_blocks,
        attention_head_dim=128,
        num_attention_heads=heads,
        joint_attention_dim=128,
        pooled_projection_dim=128,
        guidance_embeds=True,
        axes_dims_rope=(16, 56, 56),
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=t5_vocabulary,
            d_model=128,
            d_kv=64,
            d_ff=256,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            is_encoder_decoder=False,
            use_cache=False,
            tie_word_embeddings=True,
        )
    )
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=clip_vocabulary,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            projection_dim=128,
        )
    )
    _soften_start(transformer, t5, clip)
    return torch.nn.ModuleDict({"transformer": transformer, "t5": t5, "clip": clip})


@torch.no_grad()
def _soften_start(transformer: FluxTransformer2DModel, t5: T5EncoderModel, clip: CLIPTextModel) -> None:
    """Start with a small modulation and no output, close to adaLN-zero, and with embeddings of a useful size."""
    for name, parameter in transformer.named_parameters():
        if "norm" in name and "linear.weight" in name:
            parameter.mul_(0.1)
        elif name.startswith("proj_out."):
            parameter.zero_()
    t5.shared.weight.normal_(0, 0.5)
    for name, parameter in clip.named_parameters():
        if "embedding" in name:
            parameter.normal_(0, 0.3)


def encode_text(
    models: torch.nn.ModuleDict, t5_ids: torch.Tensor, clip_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the text's (B, text_length, 128) and its pooled (B, 128)."""
    return models["t5"](t5_ids)[0], models["clip"](clip_ids).pooler_output


def predict_velocity(
    transformer: FluxTransformer2DModel,
    noisy: torch.Tensor,
    sigma: torch.Tensor,
    text: torch.Tensor,
    pooled: torch.Tensor,
    guidance: torch.Tensor,
    image_ids: torch.Tensor,
) -> torch.Tensor:
    """Return float32 (B, tokens, 64), the direction from picture to noise. `sigma` and `guidance` have shape (B,)."""
    return transformer(
        hidden_states=noisy,
        encoder_hidden_states=text,
        pooled_projections=pooled,
        timestep=sigma,
        guidance=guidance,
        img_ids=image_ids,
        txt_ids=torch.zeros(text.shape[1], 3, device=noisy.device),
        return_dict=False,
    )[0].float()


def sample_sigma(count: int) -> torch.Tensor:
    """Return (count,) noise levels, 0.01 to 1: logit-normal with some uniform, so that the first is trained too."""
    return torch.where(
        torch.rand(count) < 0.2,
        torch.rand(count).clamp(0.01, 1),
        torch.sigmoid(torch.randn(count) * 1.2 + 0.5),
    )


def compile_blocks(transformer: FluxTransformer2DModel) -> None:
    """Compile the blocks. Run only the commonest shape through them: that leaves one graph for each kind of block."""
    for blocks in (transformer.transformer_blocks, transformer.single_transformer_blocks):
        for block in blocks:
            block.compile(dynamic=False)


@contextmanager
def fast_forward(device: torch.device, compiled: bool) -> Iterator[None]:
    """Run forward passes in bfloat16, with the quickest attention, and through compiled blocks or past them."""
    backends = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    stance = "default" if compiled else "force_eager"
    with (
        torch.autocast(device.type, torch.bfloat16),
        torch.compiler.set_stance(stance),
        sdpa_kernel(SDPBackend.MATH if device.type == "cpu" else backends),
    ):
        yield
