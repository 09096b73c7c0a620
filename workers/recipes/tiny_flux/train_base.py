"""Train the transformer and both text encoders together, by flow matching on cached latents.

python train_base.py --data data --vae vae.pt --tokenizers tok --out base.pt --minutes 40 --compile

Muon trains the blocks' matrices and AdamW the rest; what is saved is their moving average.
"""

import argparse
import copy
import json
import random
import time
from pathlib import Path

import torch
from batches import OTHER_SHAPES, SQUARE, BatchSource, TextLength
from catalogue import Catalogue, load_catalogue
from latents import image_ids, latent_cache
from models import build_models, compile_blocks, encode_text, fast_forward, load_vae, predict_velocity, sample_sigma
from pictures import load_base_icons
from tokenization import Tokenizers, build_tokenizers, load_tokenizers, tokenize
from torch import nn

SAVE_EVERY_S = 240.0
WARM_UP_STEPS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of render.py")
    parser.add_argument("--vae", type=Path, required=True, help="file of train_vae.py")
    parser.add_argument("--tokenizers", type=Path, required=True, help="folder; its tokenizers are built when missing")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--warm", type=Path, help="a base.pt to start from, with other tokenizers")
    parser.add_argument("--warm-tokenizers", type=Path, help="its tokenizers: embeddings are copied by token")
    parser.add_argument("--resume", type=Path, help="a base.pt to start from, with the same tokenizers")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3, help="AdamW's; Muon's is twice that")
    parser.add_argument("--hold", type=float, default=0.35, help="share of the time at full rate, before it falls to 0")
    parser.add_argument("--drop", type=float, default=0.1, help="share of empty captions, for guidance")
    parser.add_argument("--other-shapes", type=float, default=0.1, help="share of 96x160 and 160x96 batches")
    parser.add_argument("--compile", action="store_true", help="compile the blocks for the commonest shape")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    if arguments.warm and not arguments.warm_tokenizers:
        parser.error("--warm needs --warm-tokenizers")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    catalogue = load_catalogue()
    tokenizers = _tokenizers(arguments, catalogue)
    source = _source(arguments, catalogue)
    models = build_models(len(tokenizers.t5), len(tokenizers.clip))
    if arguments.resume:
        models.load_state_dict(torch.load(arguments.resume, map_location="cpu"))
    elif arguments.warm:
        warm_start(models, arguments.warm, load_tokenizers(arguments.warm_tokenizers), tokenizers)
    for name, model in models.items():
        print(f"{name}: {sum(parameter.numel() for parameter in model.parameters()) / 1e6:.2f} M parameters")
    train(models.to(arguments.device).train(), source, tokenizers, arguments)


def _tokenizers(arguments: argparse.Namespace, catalogue: Catalogue) -> Tokenizers:
    if not (arguments.tokenizers / "tokenizer_2").exists():
        words = arguments.data / "words.json"
        phrases = json.loads(words.read_text(encoding="utf-8")) if words.exists() else []
        build_tokenizers(catalogue, arguments.tokenizers, phrases)
    return load_tokenizers(arguments.tokenizers)


def _source(arguments: argparse.Namespace, catalogue: Catalogue) -> BatchSource:
    icons = load_base_icons(arguments.data, catalogue)
    shapes = [SQUARE, *(OTHER_SHAPES if arguments.other_shapes else ())]
    cache = latent_cache(arguments.vae, load_vae(arguments.vae), icons, catalogue, shapes, arguments.device)
    pictures = arguments.batch
    text_lengths = [
        TextLength(24, pictures, 0.75),
        TextLength(16, pictures, 0.08),
        TextLength(48, pictures * 3 // 4, 0.08),
        TextLength(128, pictures // 2, 0.05),
        TextLength(512, pictures // 5, 0.04),
    ]
    rng = random.Random(0)  # noqa: S311
    return BatchSource(
        catalogue, icons, cache, text_lengths, arguments.other_shapes, arguments.drop, rng, arguments.device
    )


def warm_start(models: nn.ModuleDict, file: Path, old: Tokenizers, new: Tokenizers) -> None:
    """Take over the weights of an earlier base. A token's embedding follows its text, whatever its number is now."""
    saved, fresh = torch.load(file, map_location="cpu"), models.state_dict()
    embeddings = {
        "t5.shared.weight": (old.t5, new.t5),
        "t5.encoder.embed_tokens.weight": (old.t5, new.t5),
        "clip.embeddings.token_embedding.weight": (old.clip, new.clip),
        "clip.text_model.embeddings.token_embedding.weight": (old.clip, new.clip),
    }
    for name, (before, now) in embeddings.items():
        if name not in saved:  # transformers 4 and 5 name CLIP's differently
            continue
        rows_before, rows_now = before.get_vocab(), now.get_vocab()
        known = [token for token in rows_now if token in rows_before]
        weight = fresh[name].clone()
        weight[[rows_now[token] for token in known]] = saved[name][[rows_before[token] for token in known]]
        saved[name] = weight
        print(f"{name}: {len(known)} of {len(rows_now)} rows taken over")
    models.load_state_dict(saved)


def build_optimizers(models: nn.ModuleDict, learning_rate: float) -> list[tuple[torch.optim.Optimizer, float]]:
    """Return the optimizers, each with its factor on the learning rate."""
    matrices = [
        parameter
        for name, parameter in models.named_parameters()
        if name.startswith("transformer.") and parameter.ndim == 2 and "blocks" in name and "norm" not in name
    ]
    taken = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in models.parameters() if id(parameter) not in taken]
    adamw = torch.optim.AdamW(rest, learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    muon = torch.optim.Muon(
        matrices,
        2 * learning_rate,
        weight_decay=0.01,
        momentum=0.9,
        adjust_lr_fn="match_rms_adamw",
        ns_steps=4,  # 5 on a GPU, where it costs nothing
    )
    return [(adamw, 1.0), (muon, 2.0)]


def rate_factor(step: int, done: float, hold: float) -> float:
    """Return the share of the full learning rate: warm-up by steps, then level, then down to 1 % by time."""
    warm_up = min(1, step / WARM_UP_STEPS)
    return warm_up * (1 if done < hold else max(0.01, (1 - done) / (1 - hold)))


def train(models: nn.ModuleDict, source: BatchSource, tokenizers: Tokenizers, arguments: argparse.Namespace) -> None:
    average = copy.deepcopy(models).requires_grad_(False)
    parameters, averages = list(models.parameters()), list(average.parameters())
    optimizers = build_optimizers(models, arguments.lr)
    if arguments.compile:
        compile_blocks(models["transformer"])
    limit_s = arguments.minutes * 60
    started, saved_s, step, seen, running = time.monotonic(), 0.0, 0, 0, None
    while (elapsed_s := time.monotonic() - started) < limit_s:
        learning_rate = arguments.lr * rate_factor(step, elapsed_s / limit_s, arguments.hold)
        for optimizer, factor in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * factor
            optimizer.zero_grad()
        loss, pictures = flow_matching_loss(models, source, tokenizers, arguments.compile)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
        step += 1
        seen += pictures
        torch._foreach_lerp_(averages, parameters, 1 - min(0.998, 1 - 1 / (step / 8 + 1)))
        running = loss.item() if running is None else running * 0.98 + loss.item() * 0.02
        if step % 50 == 0:
            print(
                f"step {step}, {elapsed_s:.0f} s, loss {running:.4f}, rate {learning_rate:.1e},"
                f" {seen / elapsed_s:.0f} img/s",
                flush=True,
            )
        if elapsed_s - saved_s > SAVE_EVERY_S:
            saved_s = elapsed_s
            torch.save(average.state_dict(), arguments.out)
    torch.save(average.state_dict(), arguments.out)
    print(f"{step} steps, {seen} pictures, {time.monotonic() - started:.0f} s, last loss {running}")


def flow_matching_loss(
    models: nn.ModuleDict, source: BatchSource, tokenizers: Tokenizers, compiled: bool
) -> tuple[torch.Tensor, int]:
    """Return the loss of a fresh batch and the batch's size."""
    batch, device = source.draw(), source.device
    t5_ids, clip_ids = tokenize(tokenizers, batch.captions, batch.text_length)
    noise = torch.randn_like(batch.latents)
    sigma = sample_sigma(len(batch.captions)).to(device)
    level = sigma[:, None, None]
    noisy = (1 - level) * batch.latents + level * noise
    with fast_forward(device, compiled and batch.is_usual):
        text, pooled = encode_text(models, t5_ids.to(device), clip_ids.to(device))
        guidance = torch.ones(len(noisy), device=device)
        ids = image_ids(batch.shape).to(device)
        velocity = predict_velocity(models["transformer"], noisy, sigma, text, pooled, guidance, ids)
    return (velocity - (noise - batch.latents)).pow(2).mean(), len(noisy)


if __name__ == "__main__":
    main()
