"""The description of a base model, as its folder under assets/base_models declares it."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from backend.contract.names import BaseModelId, Denoise, Message, Prompt, Sha256


class Licence(Message):
    """Under what terms a base model, and so what is made from it, may be used."""

    name: str
    link: str = ""
    # The id Hugging Face knows it by; 'other' goes with its own name and link on a model card.
    hub_id: str = "other"
    gated: bool = False  # has to be accepted on the Hub, and HF_TOKEN given, before it downloads


class WeightFile(Message):
    """One file ComfyUI needs whole, and the folder under ComfyUI's models that it appears in."""

    repo: str
    file: str
    revision: str = "main"
    sha256: Sha256 | None = None
    folder: str
    name: str = ""  # its name in that folder; the file's own if empty


class Companion(Message):
    """A snapshot that training needs beside the base model: an adapter, or a text encoder kept elsewhere."""

    repo: str
    revision: str = "main"
    include: list[str] = []


class Weights(Message):
    """Where a base model comes from: a Hugging Face snapshot, or a folder beside model.toml."""

    repo: str = ""
    revision: str = "main"
    include: list[str] = []  # glob patterns; empty takes the whole snapshot
    path: str = ""
    bytes: int = Field(0, ge=0)  # what the download takes, roughly
    companions: list[Companion] = []
    comfyui: list[WeightFile] = []

    @model_validator(mode="after")
    def _one_source(self) -> "Weights":
        if bool(self.repo) == bool(self.path):
            raise ValueError("needs either 'repo' or 'path'")
        if self.path.startswith("/") or ".." in self.path.split("/"):
            raise ValueError("'path' must stay inside the base model's folder")
        return self


class Size(Message):
    """A picture's size in pixels, with the name a person picks it by."""

    name: str
    width: int = Field(ge=16, le=4096)
    height: int = Field(ge=16, le=4096)


class GenerationSettings(Message):
    """How a picture is made, with nothing left open."""

    width: int = Field(ge=64, le=4096)  # pixels
    height: int = Field(ge=64, le=4096)
    steps: int = Field(ge=1, le=150)
    guidance: float = Field(ge=0, le=30)
    count: int = Field(1, ge=1, le=8)
    denoise: Denoise = 0.6  # where a picture starts from another one


class TrainingSettings(Message):
    """How a LoRA is trained, with nothing left open."""

    steps: int = Field(ge=1, le=20_000)
    learning_rate: float = Field(gt=0, le=0.1)
    rank: int = Field(ge=1, le=256)
    alpha: int = Field(ge=1, le=256)
    resolution: list[Annotated[int, Field(ge=64, le=2048)]] = Field(min_length=1, max_length=6)  # pixels, bucket sizes
    batch_size: int = Field(1, ge=1, le=64)
    save_every: int = Field(250, ge=1, le=20_000)  # steps between checkpoints, each with samples
    caption_dropout: float = Field(0.05, ge=0, le=1)
    prior_preservation: bool = False
    seed: int = Field(42, ge=0, le=2**31 - 1)
    # Left open, the GPU's memory decides.
    ema: bool | None = None
    low_vram: bool | None = None
    quantize: bool | None = None
    cache_text_embeddings: bool | None = None


class TrainingPace(Message):
    """How long trainings take, roughly: a guess until there are some to go by."""

    seconds_per_step: float = Field(gt=0)  # one picture a step, at the base model's own resolutions
    seconds_around: float = Field(0, ge=0)  # start, weights, caching and sampling together


class BaseModelSpec(Message):
    """A base model as its folder under assets/base_models declares it."""

    id: BaseModelId
    name: str
    summary: str
    # The family whose LoRAs fit each other: 'flux', 'sdxl', …
    architecture: str
    licence: Licence
    weights: Weights
    generation: GenerationSettings
    sizes: list[Size] = Field(min_length=1)
    size_multiple: int = Field(16, ge=1, le=128)  # pixels; other sizes are rounded to it
    max_pixels: int = Field(2048 * 2048, ge=64 * 64)
    negative_prompt: bool = False
    max_sequence_length: int = Field(512, ge=8, le=1024)  # tokens the text encoder is given
    training: TrainingSettings
    pace: TrainingPace | None = None
    sample_prompts: list[Prompt] = ["[trigger]"]
    prior_prompts: list[Prompt] = []  # what prior preservation keeps the model good at
    # Options of the diffusers engine, of ai-toolkit's config and of ComfyUI's workflow, read by those engines alone.
    diffusers: dict[str, Any] = {}
    ai_toolkit: dict[str, Any] = {}
    workflow: dict[str, Any] = {}
    workflow_inputs: dict[str, str] = {}
    comfyui_since: str = Field("", pattern=r"^(\d+\.\d+\.\d+)?$")  # the first version of ComfyUI that knows it
