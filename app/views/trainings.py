"""How trainings are shown: rows of a list, and everything on a training's page."""

from collections.abc import Iterable

from app.views import Problem, View, Views, problem_of, version_of, version_of_run
from app.wording import short_rate
from backend.contract import (
    BaseModelSpec,
    Checkpoint,
    FailureKind,
    PhaseTime,
    Progress,
    Sample,
    TrainingRequest,
    TrainingSettings,
    file_stem,
)
from backend.media import Media
from backend.runs.state import RunState, RunStatus

_BY_SETTINGS: frozenset[FailureKind] = frozenset({"invalid request", "not found", "out of memory"})


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
    queued_at: float
    base_model_id: str
    trigger_word: str
    settings: list[tuple[str, str]]
    saves_every: int | None
    has_config: bool  # whether ai-toolkit could train it
    message: str
    unsure: str  # why this may be out of date
    phases: list[PhaseTime]
    loss: float | None
    learning_rate: float | None
    seconds_per_step: float | None
    updated_at: float | None
    samples: list[SampleView]
    checkpoints: list[CheckpointView]
    problem: Problem | None
    settings_at_fault: bool  # whether another try with the same settings and pictures would fail the same way
    lora: LoraFile | None
    price_per_hour: float | None
    takes_wishes: bool  # whether it saves and samples in between when it is asked to


class CurveView(View):
    steps: list[int]
    loss: list[float]
    learning_rate: list[float]


class TrainingViews(Views):
    """Makes the answers about trainings. `gpu_price` is in dollars an hour; None where training costs nothing."""

    def __init__(self, media: Media, base_models: dict[str, BaseModelSpec], gpu_price: float | None) -> None:
        super().__init__(media, base_models)
        self._gpu_price = gpu_price

    def training_rows(self, states: Iterable[RunState]) -> RunRows:
        """Return the list of trainings."""
        rows = [RunRow.model_validate(self._row(state)) for state in states]
        return RunRows(version=version_of(row.version for row in rows), runs=rows)

    def training(self, state: RunState) -> TrainingView:
        """Return a training's page."""
        request, told, settings = _training(state), state.progress, self._training_settings(state)
        news = _news(state)
        story, spec = state.training or state.failure or told, self._spec(request)
        return TrainingView(
            **self._row(state),
            attempt=request.attempt,
            queued_at=state.queued_at or state.submitted_at,
            base_model_id=request.base_model_id,
            trigger_word=request.trigger_word,
            settings=_shown_settings(settings, request.max_minutes),
            saves_every=settings.save_every if settings else None,
            has_config=bool(spec and spec.ai_toolkit),
            message=news.message if news else "",
            unsure=state.unsure,
            phases=list(story.phases) if story else [],
            loss=told.loss if told else None,
            learning_rate=told.learning_rate if told else None,
            seconds_per_step=told.seconds_per_step if told else None,
            updated_at=told.updated_at if told else None,
            samples=[self._sample(sample) for sample in (story.samples if story else [])],
            checkpoints=[self._checkpoint(request, each) for each in (story.checkpoints if story else [])],
            problem=problem_of(state),
            settings_at_fault=bool(state.failure and state.failure.kind in _BY_SETTINGS),
            lora=self._lora_file(request, state),
            price_per_hour=self._gpu_price,
            takes_wishes=bool(news and news.takes_wishes and state.status == "running"),
        )

    def _row(self, state: RunState) -> dict[str, object]:
        request, told = _training(state), state.progress
        ended, news = state.training or state.failure, _news(state)
        samples = (ended or told).samples if (ended or told) else []  # type: ignore[union-attr]
        settings = self._training_settings(state)
        steps = settings.steps if settings else told.steps if told else 0
        return {
            "run_id": state.run_id,
            "version": version_of_run(state),
            "status": state.status,
            "name": request.lora_name,
            "base_model": self._base_model_name(request.base_model_id),
            "submitted_at": state.submitted_at,
            "phase": news.phase if news else "",
            "step": _step(state),
            "steps": steps,
            "seconds_left": news.seconds_left if news else None,
            "thumb": self._media.url("loras", samples[-1].key) if samples else "",
        }

    def _training_settings(self, state: RunState) -> TrainingSettings | None:
        spec = self._spec(_training(state))
        return _training(state).settings_for(spec) if spec else None

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


def _training(state: RunState) -> TrainingRequest:
    assert isinstance(state.request, TrainingRequest)  # noqa: S101 - its kind was asked for
    return state.request


def _news(state: RunState) -> Progress | None:
    """What a worker said of how it goes just now; what was said of an attempt before this one is none."""
    told = state.progress
    return told if told and not state.ended and told.attempt == state.request.attempt else None


def _step(state: RunState) -> int:
    if state.training:
        return state.training.steps
    if state.failure:
        return state.failure.step
    return state.progress.step if state.progress else 0


def _shown_settings(settings: TrainingSettings | None, max_minutes: float | None) -> list[tuple[str, str]]:
    if settings is None:
        return []
    limit = [("Stops after", f"{max_minutes:g} min")] if max_minutes else []
    return [
        *limit,
        ("Steps", f"{settings.steps:,}"),
        ("Rank", str(settings.rank)),
        ("Learning rate", short_rate(settings.learning_rate)),
        ("Resolution", ", ".join(str(side) for side in settings.resolution)),
        ("Batch", str(settings.batch_size)),
        ("Alpha", str(settings.alpha)),
        ("Caption dropout", f"{settings.caption_dropout:g}"),
        ("Prior preservation", "on" if settings.prior_preservation else "off"),
        ("Saves every", f"{settings.save_every:,} steps"),
        ("Seed", str(settings.seed)),
    ]
