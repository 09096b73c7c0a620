"""Renders ai-toolkit's configuration from what is asked for and the GPU's memory: for the worker that runs it, and for
the screen and the command that show it beforehand.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from backend.base_models import ASSETS, BASE_MODELS, load_base_model, read_block
from backend.contract import BaseModelSpec, Message, Prompt, TrainingRequest, TrainingSettings, file_stem
from backend.errors import BaseModelRejected, InvalidRequest

EMA_FROM_GB = 40.0  # of GPU memory; the averaged copy of the weights doesn't fit beside FLUX on less
USUAL_GPU_GB = 24.0  # what a configuration is shown for; the worker renders it for the GPU it has
KNOWN_KEYS = ASSETS / "ai_toolkit_keys.txt"
# Their values are the model's own options, or the optimizer's: the names inside aren't ai-toolkit's.
_FREE_KEYS = ("train.optimizer_params", "model.model_kwargs", "network.network_kwargs")
SAVES_KEPT = 4  # what ai-toolkit leaves in its folder; every checkpoint is linked elsewhere before that


class MemoryLimits(Message):
    """GB of GPU memory below which each saving is made; 0 is never."""

    low_vram_below_gb: float = Field(32, ge=0)
    quantize_below_gb: float = Field(60, ge=0)
    cache_text_embeddings_below_gb: float = Field(40, ge=0)


class ToolkitBlock(Message):
    """The [ai_toolkit] block of a model.toml: ai-toolkit's own keys, put under what the request settles."""

    model: dict[str, Any]
    train: dict[str, Any] = Field(default_factory=dict)
    sample: dict[str, Any] = Field(default_factory=dict)
    network: dict[str, Any] = Field(default_factory=dict)
    save: dict[str, Any] = Field(default_factory=dict)
    dataset: dict[str, Any] = Field(default_factory=dict)
    memory: MemoryLimits = MemoryLimits()


class ToolkitJob(Message):
    """What ai-toolkit is to do, and where."""

    spec: BaseModelSpec
    settings: TrainingSettings
    prompts: list[Prompt]  # to sample with
    model: Path  # folder of the base model
    folder: Path  # where ai-toolkit works; nothing of ours but its inputs lies there
    name: str  # what it calls the job, its folder and its files
    samples_are_due: bool = False  # at the step it goes on from


class MemoryPlan(Message):
    """What is done so that the training fits the GPU."""

    ema: bool
    low_vram: bool
    quantize: bool
    cache_text_embeddings: bool


def toolkit_block(spec: BaseModelSpec) -> ToolkitBlock:
    """Return a base model's [ai_toolkit] block. Raises BaseModelRejected by file and field."""
    if not spec.ai_toolkit:
        raise BaseModelRejected(
            f"{spec.name} can't be trained with ai-toolkit: its model.toml has no [ai_toolkit] block.",
            "Choose another base model, or copy such a block from one of the same family.",
        )
    return read_block(spec, "ai_toolkit", ToolkitBlock)


def unknown_keys(spec: BaseModelSpec) -> list[str]:
    """Return the keys of a base model that ai-toolkit doesn't know, as section.key: it ignores them in silence."""
    block = toolkit_block(spec).model_dump(exclude={"memory"})
    sections = {("datasets" if name == "dataset" else name): content for name, content in block.items()}
    lines = KNOWN_KEYS.read_text(encoding="utf-8").splitlines()
    return sorted(keys_in(sections) - {line for line in lines if not line.startswith("#")})


def keys_in(sections: dict[str, Any]) -> set[str]:
    """Return every key of a part of ai-toolkit's configuration, as section.key."""
    found: set[str] = set()
    for section, content in sections.items():
        for each in content if isinstance(content, list) else [content]:
            if isinstance(each, dict) and section not in _FREE_KEYS:
                found |= {f"{section}.{key}" for key in each}
                found |= keys_in({f"{section}.{key}": value for key, value in each.items()})
    return found


def memory_plan(settings: TrainingSettings, limits: MemoryLimits, gpu_memory_gb: float) -> MemoryPlan:
    """Return what to do about memory: as the request says, else by the GPU's size; 0 GB means a CPU.

    Raises InvalidRequest for a saving that ai-toolkit can't make with this base model.
    """
    possible = {"quantize": limits.quantize_below_gb, "cache_text_embeddings": limits.cache_text_embeddings_below_gb}
    for name, below_gb in possible.items():
        if getattr(settings, name) and not below_gb:
            raise InvalidRequest(f"'{name}' is on, but ai-toolkit can't do that with this base model.", "Leave it out.")
    on_gpu = gpu_memory_gb > 0
    return MemoryPlan(
        ema=_chosen(settings.ema, gpu_memory_gb >= EMA_FROM_GB),
        low_vram=_chosen(settings.low_vram, on_gpu and gpu_memory_gb < limits.low_vram_below_gb),
        quantize=_chosen(settings.quantize, on_gpu and gpu_memory_gb < limits.quantize_below_gb),
        cache_text_embeddings=_chosen(
            settings.cache_text_embeddings, gpu_memory_gb < limits.cache_text_embeddings_below_gb
        ),
    )


def leaner(settings: TrainingSettings, limits: MemoryLimits) -> TrainingSettings:
    """Return the settings for a second try after the memory ran out: every saving on, smaller pictures and batches."""
    smaller = sorted(settings.resolution)[:-1] or [max(64, int(settings.resolution[0] * 0.75) // 64 * 64)]
    return settings.model_copy(
        update={
            "ema": False,
            "low_vram": True,
            "quantize": limits.quantize_below_gb > 0,
            "cache_text_embeddings": limits.cache_text_embeddings_below_gb > 0,
            "resolution": smaller,
            "batch_size": max(1, settings.batch_size // 2),
        }
    )


def config_text(request: TrainingRequest, gpu_memory_gb: float, base_models: Path = BASE_MODELS) -> str:
    """Return the YAML of what ai-toolkit would be told for a request; the folders in it are placeholders.

    Raises BaseModelRejected or InvalidRequest for what it can't train.
    """
    given = request.base_model
    spec = given if isinstance(given, BaseModelSpec) else load_base_model(given, base_models)
    job = ToolkitJob(
        spec=spec,
        settings=request.settings_for(spec),
        prompts=request.prompts_for(spec),
        model=Path("/runpod-volume") / spec.id,
        folder=Path("/work"),
        name=job_name(file_stem(request.lora_name)),
    )
    rendered: str = yaml.safe_dump(toolkit_config(job, gpu_memory_gb), sort_keys=False, allow_unicode=True)
    return rendered


def toolkit_config(job: ToolkitJob, gpu_memory_gb: float) -> dict[str, Any]:
    """Return ai-toolkit's configuration for a job. Raises BaseModelRejected when the base model has no block for it."""
    block = toolkit_block(job.spec)
    plan = memory_plan(job.settings, block.memory, gpu_memory_gb)
    process = {
        "type": "diffusion_trainer",
        "training_folder": str(job.folder / "out"),
        "sqlite_db_path": str(job.folder / "job.db"),
        "training_seed": job.settings.seed,
        "performance_log_every": 100,  # a table of timings in the log each time
        "network": block.network | {"type": "lora", "linear": job.settings.rank, "linear_alpha": job.settings.alpha},
        "save": block.save | _save(job.settings),
        "datasets": [block.dataset | _dataset(job)],
        "train": block.train | _train(job, plan, on_gpu=gpu_memory_gb > 0),
        "logging": {"log_every": 1, "use_ui_logger": True},
        "model": _model(job, plan, block),
        "sample": _sample(job, block),
    }
    return {
        "job": "extension",
        "config": {"name": job.name, "process": [process]},
        "meta": {"name": job.name, "version": "1.0"},
    }


def job_name(stem: str) -> str:
    """Return what ai-toolkit calls the job of a LoRA: never a word of its own such as [name]."""
    return f"lora_{stem}"


def harmless(text: str) -> str:
    """Return a caption or prompt without what ai-toolkit would act on.

    It puts environment variables, so secrets, in place of ${NAME}; reads what follows -- as an option; and puts its
    own words in place of [name] and [trigger].
    """
    text = re.sub(r"\[+(name|trigger)\]+", r"\1", text)
    return re.sub("-{2,}", "—", text.replace("${", "$ {"))


def _chosen(asked: bool | None, by_memory: bool) -> bool:
    return by_memory if asked is None else asked


def _save(settings: TrainingSettings) -> dict[str, Any]:
    return {
        "dtype": "bf16",
        "save_every": settings.save_every,
        "max_step_saves_to_keep": SAVES_KEPT,
        "save_format": "diffusers",
    }


def _dataset(job: ToolkitJob) -> dict[str, Any]:
    return {
        "folder_path": str(job.folder / "dataset"),
        "caption_ext": "txt",
        "caption_dropout_rate": job.settings.caption_dropout,
        "shuffle_tokens": False,
        "cache_latents_to_disk": True,
        "num_repeats": 1,
        "resolution": job.settings.resolution,
    }


def _train(job: ToolkitJob, plan: MemoryPlan, *, on_gpu: bool) -> dict[str, Any]:
    settings = job.settings
    return {
        "batch_size": settings.batch_size,
        "steps": settings.steps,
        "gradient_accumulation": 1,
        "train_unet": True,
        "train_text_encoder": False,
        "gradient_checkpointing": True,
        "optimizer": "adamw8bit" if on_gpu else "adamw",  # its 8-bit kernels need CUDA
        "optimizer_params": {"weight_decay": 0.0001},
        "lr": settings.learning_rate,
        "cache_text_embeddings": plan.cache_text_embeddings,
        "blank_prompt_preservation": settings.prior_preservation,
        "skip_first_sample": False,
        "force_first_sample": job.samples_are_due,
        "disable_sampling": not job.prompts,
        "ema_config": {"use_ema": plan.ema, "ema_decay": 0.99},
        "dtype": "bf16" if on_gpu else "fp32",
    }


def _model(job: ToolkitJob, plan: MemoryPlan, block: ToolkitBlock) -> dict[str, Any]:
    # How coarse is the base model's to say: some fit 24 GB with three bits and an adapter for them alone.
    usual: dict[str, Any] = {"qtype": "qfloat8", "quantize_te": True} if plan.quantize else {}
    settled = {"name_or_path": str(job.model), "quantize": plan.quantize, "low_vram": plan.low_vram}
    return usual | block.model | settled


def _sample(job: ToolkitJob, block: ToolkitBlock) -> dict[str, Any]:
    made = {
        "guidance_scale": job.spec.generation.guidance,
        "sample_steps": job.spec.generation.steps,
        "width": job.spec.generation.width,
        "height": job.spec.generation.height,
    }
    return (
        made
        | block.sample
        | {
            "sample_every": job.settings.save_every,
            "format": "webp",
            "seed": job.settings.seed,
            "walk_seed": True,
            "neg": "",  # left out it is False, which no tokenizer takes when text embeddings are cached
            "samples": [{"prompt": harmless(prompt)} for prompt in job.prompts],
        }
    )
