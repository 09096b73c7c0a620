"""Draw 48 fixed prompts, and score a model by its own training icons.

python evaluate.py --model tiny-flux --data data --sheet eval.png --score --json scores.json

The score needs no other model: is the training icon that is nearest to a picture the one that was asked for? Near is
measured in the blurred latents of the model's own VAE. It says nothing of beauty or of generalisation.
"""

import argparse
import json
import random
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from catalogue import Catalogue, load_catalogue, plain_prompt
from diffusers import AutoencoderTiny, FluxPipeline
from pictures import Icons, composite, load_base_icons, save_sheet, to_tensor
from PIL import Image

SHEET_COLUMNS = 12
SHEET_PROMPTS = Path(__file__).with_name("sheet_prompts.txt")  # one a line


@dataclass(frozen=True)
class Sampler:
    """How pictures are made; the same for every prompt."""

    pipe: FluxPipeline
    guidance: float = 3.5
    steps: int = 20
    true_guidance: float = 1.0  # above 1: classifier-free guidance, for a model that isn't distilled
    text_length: int = 24
    at_once: int = 24

    def draw(self, prompts: Sequence[str], seed: int = 0, size: tuple[int, int] = (128, 128)) -> list[Image.Image]:
        """Return one picture for each prompt, all from the same seed. `size` is (height, width)."""
        images = []
        for start in range(0, len(prompts), self.at_once):
            some = list(prompts[start : start + self.at_once])
            extra: dict[str, Any] = {}
            if self.true_guidance > 1:
                extra = {"true_cfg_scale": self.true_guidance, "negative_prompt": [""] * len(some)}
            images += self.pipe(
                some,
                height=size[0],
                width=size[1],
                num_inference_steps=self.steps,
                guidance_scale=self.guidance,
                max_sequence_length=self.text_length,
                generator=[torch.Generator().manual_seed(seed) for _ in some],
                **extra,
            ).images
        return images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a FluxPipeline folder")
    parser.add_argument("--data", type=Path, help="folder of render.py, for --score")
    parser.add_argument("--sheet", type=Path, help="picture to write")
    parser.add_argument("--score", action="store_true")
    parser.add_argument("--json", type=Path, help="file for the scores")
    parser.add_argument("--guidance", type=float, default=3.5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=1.0, help="true guidance, if undistilled (then --guidance 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-sequence-length", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--limit", type=int, default=48, help="how many prompts the sheet has")
    parser.add_argument("--concepts", type=int, help="score only this many, spread over the list")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.score and not arguments.data:
        parser.error("--score needs --data")
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    pipe = FluxPipeline.from_pretrained(arguments.model, torch_dtype=torch.bfloat16).to(arguments.device)
    pipe.set_progress_bar_config(disable=True)
    sampler = Sampler(pipe, arguments.guidance, arguments.steps, arguments.cfg, arguments.max_sequence_length)
    if arguments.sheet:
        started = time.monotonic()
        prompts = SHEET_PROMPTS.read_text(encoding="utf-8").splitlines()
        images = sampler.draw(prompts[: arguments.limit], arguments.seed, tuple(arguments.size))
        save_sheet(images, arguments.sheet, SHEET_COLUMNS)
        print(f"{len(images)} pictures in {time.monotonic() - started:.1f} s")
    if arguments.score:
        scores = score(sampler, arguments.data, arguments.concepts)
        print(json.dumps(scores))
        if arguments.json:
            arguments.json.write_text(json.dumps(scores, indent=1), encoding="utf-8")


def score(sampler: Sampler, data: Path, limit: int | None = None) -> dict[str, Any]:
    """Return shares from 0 to 1: concept right (first, or among the first five), style right, background right.

    Two pictures for each concept: the default style with seed 0, the other with seed 1.
    """
    catalogue = load_catalogue()
    icons = load_base_icons(data, catalogue)
    concepts = list(catalogue.concepts)
    if limit:
        concepts = concepts[:: -(-len(concepts) // limit)]
    references = features(sampler.pipe.vae, composite(icons.rgba, catalogue.palette["white"]))
    scores: dict[str, Any] = {}
    ranks: list[int] = []
    styles_right: list[bool] = []
    confused: dict[str, list[str]] = {}
    for seed, style in enumerate(catalogue.styles):
        images = sampler.draw([plain_prompt(catalogue, concept, style) for concept in concepts], seed)
        distances = torch.cdist(features(sampler.pipe.vae, to_tensor(images)), references)
        of_style = [concept_rank(row, icons, concept) for row, concept in zip(distances, concepts, strict=True)]
        scores[style] = _tops(of_style)
        ranks += of_style
        for row, rank, concept in zip(distances, of_style, concepts, strict=True):
            nearest = icons.items[int(row.argmin())]
            if rank == 0:
                styles_right.append(nearest.style == style)
            else:
                confused.setdefault(catalogue.concepts[concept][0], []).append(catalogue.concepts[nearest.name][0])
    chance = round(1 / len(catalogue.concepts), 3)
    scores["all"] = {"images": len(ranks), "concepts": len(concepts)} | _tops(ranks) | {"chance_top1": chance}
    scores["style_right_where_concept_right"] = round(sum(styles_right) / max(1, len(styles_right)), 3)
    scores["background_colour_right"] = round(background_score(sampler, catalogue, concepts), 3)
    scores["confused"] = confused
    return scores


def _tops(ranks: list[int]) -> dict[str, float]:
    return {f"top{top}": round(sum(rank < top for rank in ranks) / len(ranks), 3) for top in (1, 5)}


def concept_rank(distances: torch.Tensor, icons: Icons, concept: str) -> int:
    """Return how many concepts are nearer than the one asked for; a concept is as near as its nearest icon."""
    order = dict.fromkeys(icons.items[i].name for i in distances.argsort().tolist())
    return list(order).index(concept)


def background_score(sampler: Sampler, catalogue: Catalogue, concepts: list[str]) -> float:
    """Return the share of pictures whose corners are nearest to the colour asked for, four pictures a colour."""
    rng = random.Random(5)  # noqa: S311
    wanted = [(rng.choice(concepts), background) for background in catalogue.colours for _ in range(4)]
    prompts = [plain_prompt(catalogue, concept, background=background) for concept, background in wanted]
    pixels = to_tensor(sampler.draw(prompts, seed=2))
    edges = (slice(None, 4), slice(-4, None))
    corners = torch.cat([pixels[:, :, rows, columns].flatten(2) for rows in edges for columns in edges], 2)
    palette = torch.tensor(list(catalogue.palette.values())) / 127.5 - 1
    nearest = torch.cdist(corners.median(2).values, palette).argmin(1).tolist()
    names = list(catalogue.palette)
    return sum(names[i] == background for i, (_, background) in zip(nearest, wanted, strict=True)) / len(wanted)


@torch.no_grad()
def features(vae: AutoencoderTiny, pixels: torch.Tensor) -> torch.Tensor:
    """Return blurred latents, float32 (B, values), of pictures (B, 3, H, W) from -1 to 1."""
    chunks = [
        vae.encode(pixels[start : start + 48].to(vae.device, vae.dtype)).latents.float().cpu()
        for start in range(0, len(pixels), 48)
    ]
    return F.avg_pool2d(F.pad(torch.cat(chunks), (1, 1, 1, 1), mode="replicate"), 3, 1).flatten(1)


if __name__ == "__main__":
    main()
