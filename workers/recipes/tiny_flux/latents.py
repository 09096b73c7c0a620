"""Latents as FLUX sees them: packing, position ids, and every icon on every background encoded once."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from catalogue import Catalogue
from diffusers import AutoencoderTiny
from pictures import Icons, composite

Shape = tuple[int, int]  # height and width of a picture in pixels
LatentCache = dict[Shape, dict[str, torch.Tensor]]  # shape → background → float16 (N, tokens, 64)

_CHUNK = 48  # pictures encoded at once


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Turn (B, 16, h, w) into (B, h/2 · w/2, 64), as FluxPipeline._pack_latents does."""
    count, channels, height, width = latents.shape
    squares = latents.view(count, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(count, height * width // 4, channels * 4)


def image_ids(shape: Shape) -> torch.Tensor:
    """Return the (tokens, 3) positions of a picture's tokens: one token for 16×16 pixels."""
    rows, columns = shape[0] // 16, shape[1] // 16
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1] += torch.arange(rows)[:, None]
    ids[..., 2] += torch.arange(columns)[None]
    return ids.reshape(-1, 3)


def latent_cache(
    file: Path, vae: AutoencoderTiny, icons: Icons, catalogue: Catalogue, shapes: Sequence[Shape], device: torch.device
) -> LatentCache:
    """Return every icon on every background in every shape. Kept beside the VAE's `file`, with .latents added."""
    kept = Path(f"{file}.latents")
    if kept.exists() and kept.stat().st_mtime >= file.stat().st_mtime:
        cache: LatentCache = torch.load(kept)
        if set(shapes) <= set(cache) and all(len(cache[shape]["white"]) == len(icons) for shape in shapes):
            return cache
    vae = copy.deepcopy(vae).to(device, memory_format=torch.channels_last)
    cache = {
        shape: {
            background: _encode(vae, icons.rgba, colour, shape, device).half().cpu()
            for background, colour in catalogue.palette.items()
        }
        for shape in shapes
    }
    torch.save(cache, kept)
    return cache


@torch.no_grad()
def _encode(
    vae: AutoencoderTiny, rgba: torch.Tensor, colour: tuple[int, int, int], shape: Shape, device: torch.device
) -> torch.Tensor:
    """Return float32 (N, tokens, 64), shifted and scaled for the transformer."""
    chunks = []
    for start in range(0, len(rgba), _CHUNK):
        pixels = composite(rgba[start : start + _CHUNK], colour, shape).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            latents = vae.encoder(pixels.contiguous(memory_format=torch.channels_last)).float()
        chunks.append(pack((latents - vae.config.shift_factor) * vae.config.scaling_factor))
    return torch.cat(chunks)
