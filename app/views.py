"""What the screen's own requests are answered with: each a small model made from what the studio knows."""

import hashlib
from collections.abc import Iterable
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict

from backend.contract import (
    BaseModelSpec,
    Checkpoint,
    Dataset,
    GeneratedImage,
    GenerationRequest,
    ImageRecord,
    LoraUse,
    PhaseTime,
    Sample,
    TrainingRequest,
    TrainingSettings,
    file_stem,
)
from backend.gallery import Page
from backend.loras import LoraChoice
from backend.media import Media
from backend.runs import RunState, RunStatus
from backend.storage import DatasetKeys, ImageKeys


class View(BaseModel):
    """An answer to the page. Seeds are text in it: JavaScript can't hold 64 bits."""

    model_config = ConfigDict(frozen=True)


class Problem(View):
    message: str
    hint: str


class RunRow(View):
    """A run in a list."""

    run_id: str
    version: str  # changes whenever anything shown of the run does
    status: RunStatus
    name: str
    base_model: str
    submitted_at: float
    phase: str
    step: int
    steps: int
    seconds_left: float | None
    thumb: str


class RunRows(View):
    version: str
    runs: list[RunRow]


class SampleView(View):
    step: int
    prompt: str
    url: str


class CheckpointView(View):
    step: int
    key: str
    bytes: int
    download: str


class LoraFile(View):
    key: str
    bytes: int
    download: str


class TrainingView(RunRow):
    """Everything on a training's page."""

    attempt: int
    base_model_id: str
    trigger_word: str
    settings: list[tuple[str, str]]
    message: str
    phases: list[PhaseTime]
    loss: float | None
    learning_rate: float | None
    seconds_per_step: float | None
    updated_at: float | None
    samples: list[SampleView]
    checkpoints: list[CheckpointView]
    problem: Problem | None
    lora: LoraFile | None


class PictureView(View):
    image_id: str
    thumb: str
    url: str
    download: str
    width: int
    height: int
    seed: str


class GenerationView(View):
    """A press of Generate and what became of it."""

    run_id: str
    version: str
    status: RunStatus
    prompt: str
    base_model: str
    loras: list[str]
    submitted_at: float
    phase: str
    step: int
    steps: int
    seed: str
    width: int
    height: int
    count: int
    pictures: list[PictureView]
    notes: list[str]
    problem: Problem | None


class GenerationViews(View):
    version: str
    runs: list[GenerationView]


class Tile(View):
    image_id: str
    thumb: str


class TilePage(View):
    pictures: list[Tile]
    after: str


class PictureDetail(PictureView):
    """Everything known of one picture."""

    run_id: str
    prompt: str
    negative_prompt: str
    base_model: str
    loras: list[str]
    steps: int
    guidance: float
    created_at: float


class LoraCard(View):
    key: str
    name: str
    detail: str
    architecture: str
    base_model: str
    trigger_word: str
    thumb: str


class LoraCards(View):
    version: str
    loras: list[LoraCard]


class CurveView(View):
    steps: list[int]
    loss: list[float]
    learning_rate: list[float]


class Views:
    """Makes answers: knows the addresses of objects and the names of base models."""

    def __init__(self, media: Media, base_models: dict[str, BaseModelSpec]) -> None:
        self._media = media
        self._base_models = base_models

    def training_rows(self, states: Iterable[RunState]) -> RunRows:
        """Return the list of trainings."""
        rows = [RunRow.model_validate(self._row(state)) for state in states]
        return RunRows(version=_version_of(row.version for row in rows), runs=rows)

    def training(self, state: RunState) -> TrainingView:
        """Return a training's page."""
        request, told, settings = _training(state), state.progress, self._training_settings(state)
        story = state.training or state.failure or told
        return TrainingView(
            **self._row(state),
            attempt=request.attempt,
            base_model_id=request.base_model_id,
            trigger_word=request.trigger_word,
            settings=_shown_settings(settings),
            message=told.message if told else "",
            phases=list(story.phases) if story else [],
            loss=told.loss if told else None,
            learning_rate=told.learning_rate if told else None,
            seconds_per_step=told.seconds_per_step if told else None,
            updated_at=told.updated_at if told else None,
            samples=[self._sample(sample) for sample in (story.samples if story else [])],
            checkpoints=[self._checkpoint(request, each) for each in (story.checkpoints if story else [])],
            problem=_problem(state),
            lora=self._lora_file(request, state),
        )

    def generations(self, states: Iterable[RunState]) -> GenerationViews:
        """Return the feed of pictures and those in the making."""
        runs = [self.generation(state) for state in states]
        return GenerationViews(version=_version_of(run.version for run in runs), runs=runs)

    def generation(self, state: RunState) -> GenerationView:
        """Return one press of Generate."""
        request = state.request
        assert isinstance(request, GenerationRequest)  # noqa: S101 - its kind was asked for
        spec = self._spec(request)
        settings = request.settings_for(spec) if spec else None
        made = state.generation
        return GenerationView(
            run_id=state.run_id,
            version=_version(state),
            status=state.status,
            prompt=request.prompt,
            base_model=spec.name if spec else request.base_model_id,
            loras=[_lora_name(use) for use in request.lora_uses],
            submitted_at=state.submitted_at,
            phase=state.progress.phase if state.progress else "queued",
            step=state.progress.step if state.progress else 0,
            steps=state.progress.steps if state.progress else 0,
            seed=str(request.seed if request.seed is not None else ""),
            width=settings.width if settings else 1,
            height=settings.height if settings else 1,
            count=len(made.images) if made else settings.count if settings else 1,
            pictures=[self._generated(image, request.prompt) for image in (made.images if made else [])],
            notes=list(made.notes) if made else [],
            problem=_problem(state),
        )

    def tiles(self, owner: str, page: Page) -> TilePage:
        """Return a page of the gallery."""
        tiles = [
            Tile(image_id=image_id, thumb=self._media.url("outputs", ImageKeys(owner, image_id).thumb))
            for image_id in page.image_ids
        ]
        return TilePage(pictures=tiles, after=page.after)

    def picture(self, record: ImageRecord) -> PictureDetail:
        """Return everything known of one picture."""
        spec = self._base_models.get(record.base_model)
        return PictureDetail(
            **self._picture(record.key, record.thumb_key, record.prompt),
            width=record.width,
            height=record.height,
            seed=str(record.seed),
            run_id=record.run_id,
            prompt=record.prompt,
            negative_prompt=record.negative_prompt,
            base_model=spec.name if spec else record.base_model,
            loras=[_lora_name(use) for use in record.loras],
            steps=record.steps,
            guidance=record.guidance,
            created_at=record.created_at,
        )

    def loras(self, choices: Iterable[LoraChoice]) -> LoraCards:
        """Return the LoRAs to choose from."""
        cards = [self._lora(choice) for choice in choices]
        return LoraCards(version=_version_of(card.key for card in cards), loras=cards)

    def dataset(self, dataset: Dataset) -> dict[str, object]:
        """Return a dataset for the caption grid."""
        keys = DatasetKeys(dataset.owner, dataset.id)
        return {
            "dataset_id": dataset.id,
            "name": dataset.name,
            "pictures": [
                {
                    "sha256": image.sha256,
                    "name": image.name,
                    "caption": image.caption,
                    "width": image.width,
                    "height": image.height,
                    "thumb": self._media.url("loras", keys.thumb(image.sha256)),
                }
                for image in dataset.images
            ],
        }

    def _row(self, state: RunState) -> dict[str, object]:
        request, told = _training(state), state.progress
        ended = state.training or state.failure
        samples = (ended or told).samples if (ended or told) else []  # type: ignore[union-attr]
        settings = self._training_settings(state)
        steps = settings.steps if settings else told.steps if told else 0
        return {
            "run_id": state.run_id,
            "version": _version(state),
            "status": state.status,
            "name": request.lora_name,
            "base_model": self._base_model_name(request.base_model_id),
            "submitted_at": state.submitted_at,
            "phase": told.phase if told and not state.ended else "",
            "step": _step(state),
            "steps": steps,
            "seconds_left": told.seconds_left if told and not state.ended else None,
            "thumb": self._media.url("loras", samples[-1].key) if samples else "",
        }

    def _training_settings(self, state: RunState) -> TrainingSettings | None:
        spec = self._spec(_training(state))
        return _training(state).settings_for(spec) if spec else None

    def _spec(self, request: TrainingRequest | GenerationRequest) -> BaseModelSpec | None:
        """The base model as the run knew it; None when only its id travelled and it is gone."""
        if isinstance(request.base_model, str):
            return self._base_models.get(request.base_model)
        return request.base_model

    def _base_model_name(self, base_model_id: str) -> str:
        return self._base_models[base_model_id].name if base_model_id in self._base_models else base_model_id

    def _lora(self, choice: LoraChoice) -> LoraCard:
        return LoraCard(
            key=choice.key,
            name=choice.name,
            detail=choice.detail,
            architecture=choice.architecture,
            base_model=self._base_model_name(choice.base_model),
            trigger_word=choice.trigger_word,
            thumb=self._media.url("loras", choice.thumb_key) if choice.thumb_key else "",
        )

    def _sample(self, sample: Sample) -> SampleView:
        return SampleView(step=sample.step, prompt=sample.prompt, url=self._media.url("loras", sample.key))

    def _checkpoint(self, request: TrainingRequest, checkpoint: Checkpoint) -> CheckpointView:
        name = f"{file_stem(request.lora_name)}_{checkpoint.step:06d}.safetensors"
        return CheckpointView(
            step=checkpoint.step,
            key=checkpoint.key,
            bytes=checkpoint.bytes,
            download=self._media.url("loras", checkpoint.key, download_as=name),
        )

    def _lora_file(self, request: TrainingRequest, state: RunState) -> LoraFile | None:
        if state.training is None:
            return None
        name = f"{file_stem(request.lora_name)}.safetensors"
        return LoraFile(
            key=state.training.lora_key,
            bytes=state.training.bytes,
            download=self._media.url("loras", state.training.lora_key, download_as=name),
        )

    def _generated(self, image: GeneratedImage, prompt: str) -> PictureView:
        return PictureView(
            **self._picture(image.key, image.thumb_key, prompt),
            width=image.width,
            height=image.height,
            seed=str(image.seed),
        )

    def _picture(self, key: str, thumb_key: str, prompt: str) -> dict[str, str]:
        image_id = PurePosixPath(key).stem
        name = f"{file_stem(prompt)[:48].strip('-')}-{image_id[-10:]}.png"
        return {
            "image_id": image_id,
            "thumb": self._media.url("outputs", thumb_key),
            "url": self._media.url("outputs", key),
            "download": self._media.url("outputs", key, download_as=name),
        }


def _training(state: RunState) -> TrainingRequest:
    assert isinstance(state.request, TrainingRequest)  # noqa: S101 - its kind was asked for
    return state.request


def _step(state: RunState) -> int:
    if state.training:
        return state.training.steps
    if state.failure:
        return state.failure.step
    return state.progress.step if state.progress else 0


def _problem(state: RunState) -> Problem | None:
    return Problem(message=state.failure.message, hint=state.failure.hint) if state.failure else None


def _shown_settings(settings: TrainingSettings | None) -> list[tuple[str, str]]:
    if settings is None:
        return []
    return [
        ("Steps", f"{settings.steps:,}"),
        ("Rank", str(settings.rank)),
        ("Learning rate", f"{settings.learning_rate:g}"),
        ("Resolution", ", ".join(str(side) for side in settings.resolution)),
        ("Batch", str(settings.batch_size)),
        ("Seed", str(settings.seed)),
    ]


def _lora_name(use: LoraUse) -> str:
    """What a LoRA's file is called, and how strongly it acted."""
    return f"{PurePosixPath(use.key).stem} × {use.strength:g}"


def _version(state: RunState) -> str:
    return f"{state.request.attempt}.{state.status}.{state.progress.seq if state.progress else 0}"


def _version_of(versions: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:16]
