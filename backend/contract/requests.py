"""What a worker is asked for: a training, or pictures. What a caller may leave out is None, and is filled in from the
base model by `settings_for`.
"""

from typing import Annotated, Any

from pydantic import Field, model_validator

from backend.contract.base_model import BaseModelSpec, GenerationSettings, TrainingSettings
from backend.contract.names import (
    MAX_PROMPT,
    BaseModelId,
    Denoise,
    Message,
    Name,
    OutputFormat,
    Owner,
    Prompt,
    RunId,
    Seed,
    StorageKey,
)


class Request(Message):
    """What both kinds of request carry. A direct caller may leave all of it out."""

    run_id: RunId | None = None
    owner: Owner = "local"
    attempt: int = Field(1, ge=1, le=1000)  # a retry of the same run, or more steps for it, counts up
    base_model: BaseModelSpec | BaseModelId

    @property
    def base_model_id(self) -> str:
        return self.base_model if isinstance(self.base_model, str) else self.base_model.id


class TrainingWishes(Message):
    """How to train. What is None comes from the base model."""

    sample_prompts: list[Prompt] | None = Field(None, max_length=8)
    steps: int | None = Field(None, ge=1, le=20_000)
    learning_rate: float | None = Field(None, gt=0, le=0.1)
    rank: int | None = Field(None, ge=1, le=256)
    alpha: int | None = Field(None, ge=1, le=256)
    resolution: list[Annotated[int, Field(ge=64, le=2048)]] | None = Field(None, min_length=1, max_length=6)
    batch_size: int | None = Field(None, ge=1, le=64)
    save_every: int | None = Field(None, ge=1, le=20_000)
    caption_dropout: float | None = Field(None, ge=0, le=1)
    prior_preservation: bool | None = None
    seed: int | None = Field(None, ge=0, le=2**31 - 1)
    # What to do about the GPU's memory; left open, its size decides.
    ema: bool | None = None
    low_vram: bool | None = None
    quantize: bool | None = None
    cache_text_embeddings: bool | None = None
    # When an attempt is ended, its last step kept; None lets it take as long as it needs.
    max_minutes: float | None = Field(None, gt=0, le=7 * 24 * 60)


class TrainingRequest(Request, TrainingWishes):
    """Train a LoRA."""

    base_model: BaseModelSpec | BaseModelId = "flux1-dev"
    lora_name: Name
    dataset_key: StorageKey | None = None  # a dataset record or a .zip in the LoRA bucket
    dataset_url: Annotated[str, Field(max_length=4096, pattern=r"^https?://")] | None = None  # a .zip
    trigger_word: Annotated[str, Field(max_length=100)] = ""

    @model_validator(mode="after")
    def _one_dataset(self) -> "TrainingRequest":
        if bool(self.dataset_key) == bool(self.dataset_url):
            raise ValueError("needs either 'dataset_key' or 'dataset_url'")
        return self

    def settings_for(self, spec: BaseModelSpec) -> TrainingSettings:
        """Return the settings to train with: the request's where given, else the base model's; alpha follows rank."""
        asked = self.model_dump(include=set(TrainingSettings.model_fields), exclude_none=True)
        if self.rank is not None and self.alpha is None:
            asked["alpha"] = self.rank
        return TrainingSettings.model_validate(spec.training.model_dump() | asked)

    def prompts_for(self, spec: BaseModelSpec) -> list[str]:
        """Return the prompts to sample with, the trigger word put in its place; the LoRA's name, when there is none."""
        prompts = spec.sample_prompts if self.sample_prompts is None else self.sample_prompts
        called = self.trigger_word or self.lora_name
        return [" ".join(prompt.replace("[trigger]", called).split()) for prompt in prompts]


class LoraUse(Message):
    """A LoRA file in storage and how strongly it acts."""

    key: StorageKey
    strength: float = Field(1.0, ge=-4, le=4)


class GenerationWishes(Message):
    """How to make pictures. What is None comes from the base model; a seed is drawn if none is given."""

    negative_prompt: Prompt = ""
    width: int | None = Field(None, ge=64, le=4096)
    height: int | None = Field(None, ge=64, le=4096)
    steps: int | None = Field(None, ge=1, le=150)
    guidance: float | None = Field(None, ge=0, le=30)
    count: int | None = Field(None, ge=1, le=8)
    seed: Seed | None = None
    # A picture in the output bucket to start from; scaled and cropped to the size asked for.
    init_image: StorageKey | None = None
    denoise: Denoise | None = None
    output_format: OutputFormat = "png"
    output_quality: int = Field(92, ge=1, le=100)  # of JPEG and WebP


class GenerationRequest(Request, GenerationWishes):
    """Make pictures from a prompt."""

    base_model: BaseModelSpec | BaseModelId = "flux1-dev"
    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]
    # What is drawn instead, picture by picture, where `prompt` has wildcards; `prompt` is kept as it was written.
    prompts: list[Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]] | None = Field(None, max_length=8)
    lora_key: StorageKey | None = None  # short for loras=[{"key": …}]
    loras: list[LoraUse] = Field([], max_length=8)
    grid_id: str | None = Field(None, max_length=64)  # of the grid that it is a cell of
    # A graph of its own for ComfyUI, in the API format; None takes the base model's.
    workflow: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_way_to_name_loras(self) -> "GenerationRequest":
        if self.lora_key and self.loras:
            raise ValueError("takes either 'lora_key' or 'loras'")
        return self

    @model_validator(mode="after")
    def _denoise_needs_a_picture(self) -> "GenerationRequest":
        if self.denoise is not None and not self.init_image:
            raise ValueError("takes 'denoise' only beside 'init_image'")
        return self

    @model_validator(mode="after")
    def _a_prompt_for_each_picture(self) -> "GenerationRequest":
        if self.prompts is not None and len(self.prompts) != self.count:
            raise ValueError("needs as many 'prompts' as its 'count'")
        return self

    def prompt_of(self, index: int) -> str:
        """Return the words that picture `index` is drawn from."""
        return self.prompts[index] if self.prompts else self.prompt

    @property
    def lora_uses(self) -> list[LoraUse]:
        """The LoRAs to load, in order."""
        return [LoraUse(key=self.lora_key)] if self.lora_key else self.loras

    def settings_for(self, spec: BaseModelSpec) -> GenerationSettings:
        """Return the settings to generate with; sizes are rounded to what the base model takes."""
        asked = self.model_dump(include=set(GenerationSettings.model_fields), exclude_none=True)
        settings = GenerationSettings.model_validate(spec.generation.model_dump() | asked)
        rounded = {side: _round_to(getattr(settings, side), spec.size_multiple) for side in ("width", "height")}
        return settings.model_copy(update=rounded)


def _round_to(pixels: int, multiple: int) -> int:
    return max(multiple, round(pixels / multiple) * multiple)
