"""What is trained on, in the model's own terms: latents and text embeddings, made once and kept in memory."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from diffusers import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux_img2img import retrieve_latents
from PIL import Image, ImageOps

from backend.diffusers_options import DiffusersOptions
from workers.training.engines import EngineJob
from workers.training.engines.diffusers_child.buckets import BucketSize, bucket_sizes, fit, nearest

PRIOR_AT_ONCE = 8  # pictures in one call of the pipeline on a CPU


class Text(NamedTuple):
    """What the two text encoders make of a prompt."""

    tokens: torch.Tensor  # (max_sequence_length, joint dim)
    pooled: torch.Tensor  # (pooled dim,)


class Example(NamedTuple):
    """One picture to learn from."""

    latents: torch.Tensor  # packed: (tokens, 64)
    size: BucketSize
    text: str  # the prompt, a key of the encoded texts


def encode_texts(pipeline: FluxPipeline, prompts: Iterable[str], max_sequence_length: int) -> dict[str, Text]:
    """Return the embeddings of each different prompt, on the CPU."""
    texts = {}
    for prompt in dict.fromkeys(prompts):
        with torch.no_grad():
            tokens, pooled, _ = pipeline.encode_prompt(
                prompt=prompt, prompt_2=None, max_sequence_length=max_sequence_length
            )
        texts[prompt] = Text(tokens[0].cpu(), pooled[0].cpu())
    return texts


def encode_pictures(
    pipeline: FluxPipeline, job: EngineJob, options: DiffusersOptions, device: torch.device
) -> list[Example]:
    """Return an example of each picture at each resolution, and of its mirror image where that is wanted."""
    # In bfloat16 the encoder's rounding shows in flat colours.
    vae = pipeline.vae.to(device, torch.float32)
    sizes = [
        bucket_sizes(resolution, job.spec, declared_only=options.buckets == "declared")
        for resolution in job.settings.resolution
    ]
    examples = []
    for picture in job.pictures:
        with Image.open(picture.path) as file:
            image = file.convert("RGB")
        for choice in dict.fromkeys(nearest(picture.width, picture.height, group) for group in sizes):
            fitted = fit(image, choice)
            for view in (fitted, ImageOps.mirror(fitted)) if options.mirror else (fitted,):
                examples.append(Example(_latents(pipeline, vae, view, device), choice, picture.caption))
    return examples


def _latents(pipeline: FluxPipeline, vae: Any, image: Image.Image, device: torch.device) -> torch.Tensor:
    pixels = pipeline.image_processor.preprocess(image).to(device, torch.float32)
    # Shape: (1, 16, height / 8, width / 8)
    with torch.no_grad():
        latents = retrieve_latents(vae.encode(pixels), sample_mode="argmax")
    latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
    # Shape: (tokens, 64), a token for each 2x2 latents
    packed: torch.Tensor = pipeline._pack_latents(latents, *latents.shape)[0]
    return packed.float().cpu()


def make_prior(
    pipeline: FluxPipeline,
    job: EngineJob,
    options: DiffusersOptions,
    texts: dict[str, Text],
    device: torch.device,
    progress: Any,
) -> list[Example]:
    """Return what the model itself draws for the base model's prior prompts, as examples that keep it able to."""
    size = BucketSize(job.spec.generation.width, job.spec.generation.height)
    at_once = PRIOR_AT_ONCE if device.type == "cpu" else 1
    examples: list[Example] = []
    for first in range(0, len(job.spec.prior_prompts), at_once):
        prompts = job.spec.prior_prompts[first : first + at_once]
        random = [
            torch.Generator().manual_seed(job.settings.seed + index) for index in range(first, first + len(prompts))
        ]
        progress(first, len(job.spec.prior_prompts))
        drawn = pipeline(
            **_embeddings([texts[prompt] for prompt in prompts], device),
            width=size.width,
            height=size.height,
            num_inference_steps=options.prior_steps,
            guidance_scale=job.spec.generation.guidance,
            generator=random,
            output_type="latent",
        ).images
        examples += [
            Example(latents.float().cpu(), size, prompt) for latents, prompt in zip(drawn, prompts, strict=True)
        ]
    return examples


def _embeddings(texts: Sequence[Text], device: torch.device) -> dict[str, torch.Tensor]:
    return {
        "prompt_embeds": torch.stack([text.tokens for text in texts]).to(device),
        "pooled_prompt_embeds": torch.stack([text.pooled for text in texts]).to(device),
    }


def draw(pipeline: FluxPipeline, job: EngineJob, text: Text, device: torch.device, after_step: Any) -> Image.Image:
    """Return one sample, from the same seed every time."""
    generation = job.spec.generation
    image: Image.Image = pipeline(
        **_embeddings([text], device),
        width=generation.width,
        height=generation.height,
        num_inference_steps=generation.steps,
        guidance_scale=generation.guidance,
        generator=torch.Generator().manual_seed(job.settings.seed),
        callback_on_step_end=after_step,
    ).images[0]
    return image
