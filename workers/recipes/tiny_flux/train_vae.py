"""Train, or refine, the 16-channel VAE.

python train_vae.py --data data --out vae.pt --minutes 12 [--resume vae.pt]

The encoder starts as an exact PCA of 8×8 patches and the decoder as its rough inverse, which saves most of the usual
warm-up.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from catalogue import Catalogue, load_catalogue
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from models import build_vae
from pictures import Icons, load_icons, save_sheet, to_images
from torch import nn

LATENT_CHANNELS = 16
VIEW_SIZE = 64  # pixels
SAVE_EVERY_S = 180.0


@dataclass(frozen=True)
class Views:
    """An endless source of 64 px training views."""

    icons: Icons
    learned: torch.Tensor  # int64, the icons in the styles that the base model learns
    palette: torch.Tensor  # (colours, 3) from -1 to 1
    device: torch.device

    @classmethod
    def of(cls, icons: Icons, catalogue: Catalogue, device: torch.device) -> "Views":
        learned = torch.tensor([i for i, icon in enumerate(icons.items) if icon.style in catalogue.styles])
        return cls(icons, learned, torch.tensor(list(catalogue.palette.values())) / 127.5 - 1, device)

    def draw(self, count: int) -> torch.Tensor:
        """Return float32 (count, 3, 64, 64) from -1 to 1: a fifth whole icons scaled down, the rest native crops."""
        from_learned = torch.rand(count) < 0.6
        learned = self.learned[torch.randint(len(self.learned), (count,))]
        chosen = torch.where(from_learned, learned, torch.randint(len(self.icons), (count,)))
        rgba = self.icons.rgba[chosen].float() / 255
        alpha = rgba[:, 3:]
        pixels = (rgba[:, :3] * 2 - 1) * alpha + self._colours(count)[:, :, None, None] * (1 - alpha)
        whole = count // 5
        top, left = torch.randint(0, VIEW_SIZE + 1, (2,)).tolist()
        scaled = F.interpolate(pixels[:whole], (VIEW_SIZE, VIEW_SIZE), mode="area")
        views = torch.cat([scaled, pixels[whole:, :, top : top + VIEW_SIZE, left : left + VIEW_SIZE]])
        if torch.rand(()) < 0.5:
            views = views.flip(3)
        return views.to(self.device).contiguous(memory_format=torch.channels_last)

    def _colours(self, count: int) -> torch.Tensor:
        """Return (count, 3) backgrounds: a fifth white, most of the others from the palette, some any colour."""
        white = torch.rand(count, 1) < 0.2
        from_palette = torch.rand(count, 1) < 0.8
        named = self.palette[torch.randint(len(self.palette), (count,))]
        return torch.where(white, torch.ones(count, 3), torch.where(from_palette, named, torch.rand(count, 3) * 2 - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of render.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", type=Path, help="a VAE of this script to refine")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    views = Views.of(load_icons(arguments.data), load_catalogue(), arguments.device)
    vae = build_vae(arguments.channels)
    if arguments.resume:
        vae.load_state_dict(torch.load(arguments.resume, map_location="cpu")["model"])
    else:
        start_as_pca(vae, views, arguments.channels)
    vae = vae.to(arguments.device, memory_format=torch.channels_last)
    train(vae, views, arguments)


def train(vae: AutoencoderTiny, views: Views, arguments: argparse.Namespace) -> None:
    optimizer = torch.optim.AdamW(vae.parameters(), arguments.lr, betas=(0.9, 0.99), weight_decay=1e-4)
    limit_s = arguments.minutes * 60
    started, saved_s, step, average = time.monotonic(), 0.0, 0, None
    while (elapsed_s := time.monotonic() - started) < limit_s:
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * min(1, step / 50) * max(0.01, 1 - elapsed_s / limit_s)
        loss, l1 = reconstruction_loss(vae, views.draw(arguments.batch))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        average = l1 if average is None else average * 0.97 + l1 * 0.03
        if step % 50 == 0:
            print(f"step {step}, {elapsed_s:.0f} s, L1 {average:.4f}, {step * arguments.batch / elapsed_s:.0f} img/s")
        if elapsed_s - saved_s > SAVE_EVERY_S:
            saved_s = elapsed_s
            save(vae, views, arguments)
    save(vae, views, arguments)
    print(f"{step} steps, {time.monotonic() - started:.0f} s")


def reconstruction_loss(vae: AutoencoderTiny, pixels: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return the loss and its plain L1 part."""
    with torch.autocast(pixels.device.type, torch.bfloat16):
        latents = vae.encoder(pixels)
        # The decoder must put up with latents that the transformer got slightly wrong.
        noise = torch.randn_like(latents) * 0.2 * torch.rand(len(latents), 1, 1, 1, device=pixels.device)
        decoded = vae.decoder(latents + noise)
    error = decoded.float() - pixels
    edges = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    l1 = error.abs().mean()
    loss = l1 + 0.3 * edges + 2 * error.pow(2).mean() + 1e-3 * latents.float().pow(2).mean()
    return loss, l1.item()


@torch.no_grad()
def save(vae: AutoencoderTiny, views: Views, arguments: argparse.Namespace) -> None:
    """Save weights, latent shift and scale, and PSNR on 64 whole icons on white; a sheet beside them compares 16."""
    vae.eval()
    chosen = views.learned[torch.arange(0, len(views.learned), max(1, len(views.learned) // 256))]
    rgba = views.icons.rgba[chosen].float() / 255
    pixels = ((rgba[:, :3] * 2 - 1) * rgba[:, 3:] + 1 - rgba[:, 3:]).to(arguments.device)
    latents = torch.cat([vae.encoder(pixels[start : start + 32]) for start in range(0, len(pixels), 32)])
    decoded = torch.cat([vae.decoder(latents[start : start + 32]) for start in range(0, 64, 32)])
    errors = (decoded.clamp(-1, 1) - pixels[:64]).pow(2).mean((1, 2, 3)) / 4
    psnr = (-10 * torch.log10(errors)).mean().item()
    shift, spread = latents.mean().item(), latents.std().item()
    torch.save(
        {
            "model": vae.state_dict(),
            "channels": arguments.channels,
            "shift": shift,
            "scale": 1 / spread,
            "psnr": psnr,
        },
        arguments.out,
    )
    rows = [pixels[:32:4], decoded[:32:4], pixels[32:64:4], decoded[32:64:4]]
    save_sheet(to_images(torch.cat(rows)), arguments.out.with_name(arguments.out.stem + "_sheet.png"), columns=8)
    print(f"PSNR at 128 px {psnr:.2f} dB, latent shift {shift:.4f}, spread {spread:.4f}", flush=True)
    vae.train()


@torch.no_grad()
def start_as_pca(vae: AutoencoderTiny, views: Views, channels: int) -> None:
    """Make the encoder an exact PCA of 8×8 patches, and let the decoder pass its channels through."""
    for module in vae.modules():
        if isinstance(module, AutoencoderTinyBlock):
            module.conv[-1].weight.mul_(0.05)
            module.conv[-1].bias.zero_()
    components, mean = patch_components(views)
    _start_encoder([layer for layer in vae.encoder.layers if isinstance(layer, nn.Conv2d)], components, mean)
    _start_decoder([layer for layer in vae.decoder.layers if isinstance(layer, nn.Conv2d)], channels)


def patch_components(views: Views, sample: int = 12000) -> tuple[torch.Tensor, torch.Tensor]:
    """Return 16 principal components, (16, 192), partly whitened and scaled together to unit variance, and the mean.

    A patch is 3 × 8 × 8 values from 0 to 1, channel first.
    """
    pixels = torch.cat([views.draw(64) for _ in range(12)]).cpu().contiguous()
    patches = F.unfold((pixels + 1) / 2, 8, stride=8).transpose(1, 2).reshape(-1, 192)
    mean = patches.mean(0)
    centred = (patches - mean)[torch.randperm(len(patches))[:sample]]
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    spread = (singular / sample**0.5)[:LATENT_CHANNELS]
    components = directions[:LATENT_CHANNELS] / spread[:, None] ** 0.6
    return components / (spread**0.4).pow(2).mean().sqrt(), mean


def _start_encoder(convolutions: list[nn.Conv2d], components: torch.Tensor, mean: torch.Tensor) -> None:
    """Carry each pixel of a patch to its own channel through three strided convolutions, then project.

    The last strided one holds the components and their negatives, so that the ReLU after it loses nothing; the output
    convolution takes their difference.
    """
    first, down1, down2, down3, last = convolutions
    first.weight.mul_(0.05)
    first.bias.zero_()
    down1.weight.mul_(0.05)
    down2.weight.zero_()
    down3.weight.mul_(0.05)
    down3.weight[: 2 * LATENT_CHANNELS].zero_()
    last.weight.mul_(0.05)
    for colour in range(3):
        first.weight[colour].zero_()
        first.weight[colour, colour, 1, 1] = 1
    _space_to_depth(down1, 3)
    _space_to_depth(down2, 12)
    # Shape: (16, 3, 8, 8) - component, colour, row, column
    patches = components.view(LATENT_CHANNELS, 3, 8, 8)
    for colour in range(3):
        for y in range(8):
            for x in range(8):
                channel = (colour * 4 + y % 2 * 2 + x % 2) * 4 + y // 2 % 2 * 2 + x // 2 % 2
                position = (channel, 1 + y // 4, 1 + x // 4)
                down3.weight[:LATENT_CHANNELS, *position] = patches[:, colour, y, x]
                down3.weight[LATENT_CHANNELS : 2 * LATENT_CHANNELS, *position] = -patches[:, colour, y, x]
    for k in range(LATENT_CHANNELS):
        last.weight[k].zero_()
        last.weight[k, k, 1, 1] = 1
        last.weight[k, LATENT_CHANNELS + k, 1, 1] = -1
        last.bias[k] = -(components[k] @ mean)


def _space_to_depth(convolution: nn.Conv2d, channels: int) -> None:
    """Give each of the 2×2 pixels under a stride of 2 an output channel of its own."""
    for channel in range(channels):
        for y in range(2):
            for x in range(2):
                out = channel * 4 + y * 2 + x
                convolution.weight[out].zero_()
                convolution.weight[out, channel, 1 + y, 1 + x] = 1


def _start_decoder(convolutions: list[nn.Conv2d], channels: int) -> None:
    first, *between, last = convolutions
    first.weight[: 2 * LATENT_CHANNELS].zero_()
    first.bias[: 2 * LATENT_CHANNELS] = 0
    for k in range(LATENT_CHANNELS):
        first.weight[k, k, 1, 1] = 1
        first.weight[LATENT_CHANNELS + k, k, 1, 1] = -1
    for convolution in between:
        convolution.weight.mul_(0.5)
        for channel in range(channels):
            convolution.weight[channel, channel, 1, 1] += 0.8
    last.bias.zero_()


if __name__ == "__main__":
    main()
