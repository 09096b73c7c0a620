"""Every message between the app and a worker, and the description of a base model. Imports pydantic only.

A message refuses unknown fields and never changes once made. What a caller may leave out is None and is filled in from
the base model by `settings_for`.
"""

import re
import secrets
import time
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

MAX_SEED = 2**64 - 1
MAX_NAME = 80  # characters
MAX_PROMPT = 4000  # characters
_REVERSE_FROM = 10**13 - 1  # 13 digits of milliseconds counted down: newest first in a listing


class Message(BaseModel):
    """A frozen message that refuses unknown fields, NaN and infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# ------------------------------------------------------------------------------------------------ names


def _check_name(name: str) -> str:
    name = " ".join(name.split())
    if not name:
        raise ValueError("is empty; give it a name")
    if len(name) > MAX_NAME:
        raise ValueError(f"has {len(name)} characters; use at most {MAX_NAME}")
    if bad := re.search(r'[/\\<>:"|?*\x00-\x1f\x7f]', name):
        raise ValueError(f"contains {bad.group()!r}; leave that character out")
    if set(name) <= {"."}:
        raise ValueError("is only dots; give it a name")
    return name


def file_stem(name: str) -> str:
    """Return `name` as letters, digits, '-' and '_', safe on every file system; 'lora' if none is left."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:64] or "lora"


Name = Annotated[str, AfterValidator(_check_name)]
Owner = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
BaseModelId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
RunId = Annotated[str, Field(pattern=r"^(train|image)-[0-9]{13}-[0-9a-f]{8}$")]
ImageId = Annotated[str, Field(pattern=r"^[0-9]{13}-[0-9a-f]{8}-[0-9]{1,2}$")]
# A LoRA is called after the run it came from, a promoted checkpoint with its step, an imported file by its content.
LoraId = Annotated[str, Field(pattern=r"^(train-[0-9]{13}-[0-9a-f]{8}(-[0-9]{1,9})?|import-[0-9a-f]{32})$")]
DatasetId = Annotated[str, Field(pattern=r"^[0-9]{13}-[0-9a-f]{8}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
StorageKey = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^/\x00-\x1f][^\x00-\x1f]*$")]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
# How much of a picture that one starts from is drawn anew. Far less would mean a schedule of a million steps.
Denoise = Annotated[float, Field(ge=0.01, le=1)]
RunKind = Literal["train", "image"]
Wish = Literal["save", "sample"]  # what a person may ask of a training in between
OutputFormat = Literal["png", "jpeg", "webp"]


def reverse_ms(seconds: float | None = None) -> str:
    """Return a time (now, if not given) as 13 digits that sort newest first."""
    return f"{_REVERSE_FROM - int((time.time() if seconds is None else seconds) * 1000):013d}"


def new_id() -> str:
    """Return a fresh dataset id; ids sort newest first."""
    return f"{reverse_ms()}-{secrets.token_hex(4)}"


def new_run_id(kind: RunKind) -> str:
    """Return a fresh run id, chosen before anything is submitted so that a crash in between loses nothing."""
    return f"{kind}-{new_id()}"


def created_at(identifier: str) -> float:
    """Return the time in an id made by `new_id` or `new_run_id`, in seconds since 1970."""
    return (_REVERSE_FROM - int(identifier.split("-")[-2])) / 1000


# ------------------------------------------------------------------------------------------------ base models


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


# ------------------------------------------------------------------------------------------------ datasets


class DatasetImage(Message):
    """One picture: stored as `key`, shown and captioned by its content hash, never by position."""

    key: StorageKey
    sha256: Sha256
    name: str  # what the person's file was called
    width: int
    height: int
    bytes: int
    caption: str = ""
    # What the check-up goes by: how steep its edges are (0 to 1), and what it looks like in 256 bits.
    sharpness: float | None = None
    fingerprint: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


class Dataset(Message):
    """Pictures with their captions, as one run or one screen sees them."""

    id: DatasetId
    name: Name
    owner: Owner
    created_at: float
    images: list[DatasetImage]


# ------------------------------------------------------------------------------------------------ requests


class Request(Message):
    """What both kinds of request carry. A direct caller may leave all of it out."""

    run_id: RunId | None = None
    owner: Owner = "local"
    attempt: int = Field(1, ge=1, le=1000)  # a retry of the same run, or more steps for it, counts up
    base_model: BaseModelSpec | BaseModelId

    @property
    def base_model_id(self) -> str:
        return self.base_model if isinstance(self.base_model, str) else self.base_model.id


class TrainingRequest(Request):
    """Train a LoRA. What is None comes from the base model."""

    base_model: BaseModelSpec | BaseModelId = "flux1-dev"
    lora_name: Name
    dataset_key: StorageKey | None = None  # a dataset record or a .zip in the LoRA bucket
    dataset_url: Annotated[str, Field(max_length=4096, pattern=r"^https?://")] | None = None  # a .zip
    trigger_word: Annotated[str, Field(max_length=100)] = ""
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


class GenerationRequest(Request):
    """Make pictures from a prompt. What is None comes from the base model; a seed is drawn if none is given."""

    base_model: BaseModelSpec | BaseModelId = "flux1-dev"
    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]
    # What is drawn instead, picture by picture, where `prompt` has wildcards; `prompt` is kept as it was written.
    prompts: list[Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]] | None = Field(None, max_length=8)
    negative_prompt: Prompt = ""
    lora_key: StorageKey | None = None  # short for loras=[{"key": …}]
    loras: list[LoraUse] = Field([], max_length=8)
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


# ------------------------------------------------------------------------------------------------ progress and results

# In the order a run goes through them; sampling and saving come again and again.
Phase = Literal[
    "queued", "starting", "fetching data", "loading model", "caching", "training", "sampling", "saving",
    "generating", "uploading",
]  # fmt: skip


class PhaseTime(Message):
    """How long a run has spent in one phase; a phase that comes again adds up."""

    phase: Phase
    seconds: float = Field(ge=0)


class Checkpoint(Message):
    """A LoRA file saved on the way; it can be prompted at once."""

    step: int = Field(ge=0)
    key: StorageKey
    sha256: Sha256
    bytes: int


class Sample(Message):
    """A picture made while training, from the same seed at every step."""

    step: int = Field(ge=0)
    prompt: str
    key: StorageKey


class Progress(Message):
    """What a worker last said about a run: `progress.json`, at most once a second."""

    run_id: RunId
    attempt: int
    seq: int  # counts up; an older one that arrives late is dropped
    updated_at: float  # seconds since 1970
    phase: Phase
    phases: list[PhaseTime]
    step: int = 0
    steps: int = 0
    loss: float | None = None  # smoothed
    learning_rate: float | None = None
    seconds_per_step: float | None = None
    seconds_left: float | None = None
    message: str = ""
    preview_key: StorageKey | None = None  # the picture so far; its content changes under the same key
    takes_wishes: bool = False  # whether it saves and samples in between when somebody asks
    checkpoints: list[Checkpoint] = []
    samples: list[Sample] = []


class Metrics(Message):
    """A stretch of the loss curve: `metrics/<first step>.json`; the three lists have equal length."""

    steps: list[int]
    loss: list[float]
    learning_rate: list[float]


class TrainingResult(Message):
    """A finished training: `result.json`, written last. An attempt with more steps goes on from it and replaces it."""

    run_id: RunId
    attempt: int = 1  # the one that finished
    lora_key: StorageKey
    sha256: Sha256
    bytes: int
    steps: int
    seconds: float  # of work, all attempts together
    phases: list[PhaseTime]
    checkpoints: list[Checkpoint]
    samples: list[Sample]


class GeneratedImage(Message):
    """One picture in storage. `url` opens it for a while without keys."""

    key: StorageKey
    url: str
    thumb_key: StorageKey
    width: int
    height: int
    seed: Seed


class GenerationResult(Message):
    """A finished generation: `result.json`, written last."""

    run_id: RunId
    images: list[GeneratedImage]
    seconds: float
    phases: list[PhaseTime]
    notes: list[str] = []  # what was done otherwise than asked, such as a rounded size


FailureKind = Literal[
    "invalid request", "not found", "cancelled", "out of memory", "engine", "weights", "service", "internal"
]


class JobFailure(Message):
    """A run that ended without a result: `failure.json`, written last."""

    run_id: RunId
    attempt: int
    kind: FailureKind
    message: str
    hint: str = ""
    step: int = 0
    phases: list[PhaseTime] = []
    checkpoints: list[Checkpoint] = []  # what was kept
    samples: list[Sample] = []


class Submission(Message):
    """Which RunPod job carries a run, and what was asked of it since: `job.json`, written by the app alone."""

    run_id: RunId
    attempt: int
    job_id: str
    submitted_at: float
    cancelled: bool = False  # somebody asked for its end
    # How often somebody asked for a checkpoint, or for samples, in between: the worker goes by the difference.
    saves: int = 0
    samplings: int = 0


class LoraRecord(Message):
    """A LoRA anyone can prompt with: `lora.json`, written after its file."""

    id: str
    owner: Owner
    name: Name
    key: StorageKey
    sha256: Sha256
    bytes: int
    base_model: BaseModelId
    architecture: str
    trigger_word: str = ""
    thumb_key: StorageKey | None = None
    run_id: RunId | None = None
    rank: int | None = None
    steps: int | None = None
    created_at: float


class LoraLabel(Message):
    """What a person says of a LoRA: `label.json`, written by the app alone."""

    name: Name | None = None  # None: as the record has it
    note: Annotated[str, Field(max_length=4000)] = ""
    tags: list[Annotated[str, Field(min_length=1, max_length=40)]] = Field([], max_length=20)
    thumb_key: StorageKey | None = None
    published: Annotated[str, Field(max_length=500)] = ""  # where on the Hugging Face Hub


class ImageRecord(Message):
    """Everything needed to make one picture again: `records/….json`, written after the picture and its thumbnail."""

    id: str
    owner: Owner
    run_id: RunId
    key: StorageKey
    thumb_key: StorageKey
    prompt: str
    prompt_template: str = ""  # as it was written, where wildcards were worked out in it
    negative_prompt: str = ""
    base_model: BaseModelId
    loras: list[LoraUse] = []
    width: int
    height: int
    steps: int
    guidance: float
    seed: Seed
    init_image: StorageKey | None = None  # the picture it started from
    denoise: float | None = None
    created_at: float


# ------------------------------------------------------------------------------------------------ saying what is wrong


def explain(error: ValidationError) -> str:
    """Return a sentence for each thing that is wrong, naming the field, what was sent and what is allowed."""
    return " ".join(_explain_one(dict(problem)) for problem in error.errors() if not _is_union_noise(dict(problem)))


def _is_union_noise(problem: dict[str, Any]) -> bool:
    # A base model may be an id or a whole spec: pydantic reports both branches, only one was meant.
    branch = problem["loc"][1:2]
    return bool(branch == ("BaseModelSpec",) and problem["type"] == "model_type")


def _explain_one(problem: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in problem["loc"] if part != "BaseModelSpec") or "the request"
    sent, limits = problem.get("input"), problem.get("ctx", {})
    shown = repr(sent) if len(repr(sent)) <= 60 else f"{repr(sent)[:57]}…"
    match problem["type"]:
        case "extra_forbidden":
            return f"'{field}' is not a known field; check its spelling or leave it out."
        case "missing":
            return f"'{field}' is missing."
        case "greater_than_equal":
            return f"'{field}' is {shown}; the least is {_limit(limits['ge'])}."
        case "greater_than":
            return f"'{field}' is {shown}; it must be more than {_limit(limits['gt'])}."
        case "less_than_equal":
            return f"'{field}' is {shown}; the most is {_limit(limits['le'])}."
        case "int_parsing" | "int_from_float" | "int_type":
            return f"'{field}' is {shown}; it must be a whole number."
        case "float_parsing" | "float_type":
            return f"'{field}' is {shown}; it must be a number."
        case "finite_number":
            return f"'{field}' is {shown}; it must be a finite number."
        case "string_too_long":
            return f"'{field}' has {len(str(sent)):,} characters; the most is {limits['max_length']:,}."
        case "string_too_short":
            return f"'{field}' is empty."
        case "too_long" | "too_short":
            return f"'{field}' has {limits['actual_length']} entries; {problem['msg']}."
        case "value_error":
            return f"'{field}' {limits['error']}."
        case _:
            return f"'{field}' is {shown}: {problem['msg'][0].lower()}{problem['msg'][1:]}."


def _limit(number: float) -> str:
    return f"{int(number) if number == int(number) else number:,}"
