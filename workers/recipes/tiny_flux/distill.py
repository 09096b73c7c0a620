"""Fold classifier-free guidance into the guidance embedding, then export a FluxPipeline.

python distill.py --data data --vae vae.pt --tokenizers tok --base base.pt --out tiny-flux --minutes 5

With guidance g, the student learns uncond + w (cond - uncond), where w = 1 + strength (g - 1). Only the transformer is
trained.
"""

import argparse
import copy
import random
import time
from pathlib import Path

import torch
from batches import OTHER_SHAPES, SQUARE, BatchSource, TextLength
from catalogue import load_catalogue
from diffusers import FluxTransformer2DModel
from export import export_pipeline
from latents import image_ids, latent_cache
from models import build_models, compile_blocks, encode_text, fast_forward, load_vae, predict_velocity, sample_sigma
from pictures import load_base_icons
from tokenization import Tokenizers, load_tokenizers, tokenize
from torch import nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of render.py")
    parser.add_argument("--vae", type=Path, required=True, help="file of train_vae.py")
    parser.add_argument("--tokenizers", type=Path, required=True, help="folder of train_base.py")
    parser.add_argument("--base", type=Path, required=True, help="file of train_base.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pipeline")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--strength", type=float, default=0.4, help="classifier-free guidance in one unit of embedded")
    parser.add_argument("--other-shapes", type=float, default=0.08, help="share of 96x160 and 160x96 batches")
    parser.add_argument("--compile", action="store_true", help="compile the blocks for the commonest shape")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    tokenizers, vae = load_tokenizers(arguments.tokenizers), load_vae(arguments.vae)
    catalogue = load_catalogue()
    icons = load_base_icons(arguments.data, catalogue)
    shapes = [SQUARE, *(OTHER_SHAPES if arguments.other_shapes else ())]
    cache = latent_cache(arguments.vae, vae, icons, catalogue, shapes, arguments.device)
    pictures = arguments.batch
    text_lengths = [
        TextLength(24, pictures, 0.9),
        TextLength(64, pictures // 2, 0.06),
        TextLength(512, pictures // 6, 0.04),
    ]
    rng = random.Random(1)  # noqa: S311
    source = BatchSource(
        catalogue,
        icons,
        cache,
        text_lengths,
        arguments.other_shapes,
        caption_dropout=0.05,
        rng=rng,
        device=arguments.device,
    )
    models = build_models(len(tokenizers.t5), len(tokenizers.clip))
    models.load_state_dict(torch.load(arguments.base, map_location="cpu"))
    export_pipeline(train(models.to(arguments.device), source, tokenizers, arguments), vae, tokenizers, arguments.out)


def train(
    models: nn.ModuleDict, source: BatchSource, tokenizers: Tokenizers, arguments: argparse.Namespace
) -> nn.ModuleDict:
    """Return the moving average of the trained models."""
    teacher = copy.deepcopy(models["transformer"]).requires_grad_(False)
    models["t5"].requires_grad_(False)
    models["clip"].requires_grad_(False)
    average = copy.deepcopy(models).requires_grad_(False)
    parameters, averages = list(models["transformer"].parameters()), list(average["transformer"].parameters())
    optimizer = torch.optim.AdamW(parameters, arguments.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    if arguments.compile:
        compile_blocks(models["transformer"])
    limit_s = arguments.minutes * 60
    started, step, running = time.monotonic(), 0, None
    while (elapsed_s := time.monotonic() - started) < limit_s:
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * min(1, (step + 1) / 20) * max(0.01, 1 - elapsed_s / limit_s)
        loss = guidance_loss(models, teacher, source, tokenizers, arguments)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        torch._foreach_lerp_(averages, parameters, 1 - min(0.99, 1 - 1 / (step / 4 + 1)))
        running = loss.item() if running is None else running * 0.95 + loss.item() * 0.05
        if step % 50 == 0:
            print(f"step {step}, {elapsed_s:.0f} s, loss {running:.4f}, {step / elapsed_s:.2f} steps/s", flush=True)
    print(f"{step} steps, {time.monotonic() - started:.0f} s, last loss {running}")
    return average


def guidance_loss(
    models: nn.ModuleDict,
    teacher: FluxTransformer2DModel,
    source: BatchSource,
    tokenizers: Tokenizers,
    arguments: argparse.Namespace,
) -> torch.Tensor:
    """Return the loss of a fresh batch, each picture with a guidance of its own from 1 to 5."""
    batch, device = source.draw(), source.device
    noise = torch.randn_like(batch.latents)
    count = len(noise)
    sigma = sample_sigma(count).to(device)
    level = sigma[:, None, None]
    noisy = (1 - level) * batch.latents + level * noise
    guidance = 1 + torch.rand(count, device=device) * 4
    weight = (1 + arguments.strength * (guidance - 1))[:, None, None]
    ids, ones = image_ids(batch.shape).to(device), torch.ones(count, device=device)
    with fast_forward(device, arguments.compile and batch.is_usual):
        with torch.no_grad():
            # The last caption is the empty one.
            t5_ids, clip_ids = tokenize(tokenizers, [*batch.captions, ""], batch.text_length)
            text, pooled = encode_text(models, t5_ids.to(device), clip_ids.to(device))
            no_text, no_pooled = text[-1:].expand(count, -1, -1), pooled[-1:].expand(count, -1)
            conditional = predict_velocity(teacher, noisy, sigma, text[:-1], pooled[:-1], ones, ids)
            unconditional = predict_velocity(teacher, noisy, sigma, no_text, no_pooled, ones, ids)
        velocity = predict_velocity(models["transformer"], noisy, sigma, text[:-1], pooled[:-1], guidance, ids)
    return (velocity - (unconditional + weight * (conditional - unconditional))).pow(2).mean()


if __name__ == "__main__":
    main()
