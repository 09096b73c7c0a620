"""What has to be there before the first step: encoded captions and pictures, and the transformer."""

import gc
from collections.abc import Callable
from typing import NamedTuple

import torch
from diffusers import FluxPipeline

from backend.diffusers_options import DiffusersOptions
from workers.pipelines import load_pipeline
from workers.training.engines import EngineJob
from workers.training.engines.diffusers_child.examples import (
    Example,
    Text,
    encode_pictures,
    encode_texts,
    make_prior,
)
from workers.training.engines.diffusers_child.parent import Parent
from workers.training.engines.events import PhaseEntered

TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


class Prepared(NamedTuple):
    """What a training works with."""

    pipeline: FluxPipeline  # without its text encoders
    texts: dict[str, Text]
    examples: list[Example]
    prior: list[Example]  # of what the model could do before


def prepare(
    job: EngineJob, options: DiffusersOptions, parent: Parent, device: torch.device, dtype: torch.dtype
) -> Prepared:
    """Load and cache. The text encoders are gone before the transformer comes: together they don't fit a 24 GB GPU."""
    prior_prompts = job.spec.prior_prompts if job.settings.prior_preservation else []
    parent.tell(PhaseEntered(phase="loading model", message="text encoders"))
    encoders = load_pipeline(job.model, device, dtype, without=["transformer"])
    parent.tell(PhaseEntered(phase="caching", message=f"{len(job.pictures)} pictures"))
    prompts = [picture.caption for picture in job.pictures] + job.prompts + prior_prompts + [""]
    texts = encode_texts(encoders, prompts, job.spec.max_sequence_length)
    examples = encode_pictures(encoders, job, options, device)
    encoders = None
    _free(device)
    parent.tell(PhaseEntered(phase="loading model", message="transformer"))
    pipeline = load_pipeline(job.model, device, dtype, without=TEXT_PARTS)
    prior: list[Example] = []
    if prior_prompts:
        parent.tell(PhaseEntered(phase="caching", message="what the model can do already"))
        prior = make_prior(pipeline, job, options, texts, device, _prior_progress(parent))
    return Prepared(pipeline, texts, examples, prior)


def _prior_progress(parent: Parent) -> Callable[[int, int], None]:
    return lambda done, total: parent.tell(
        PhaseEntered(phase="caching", message=f"what the model can do already: {done} of {total}")
    )


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
