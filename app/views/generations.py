"""How presses of Generate are shown, and what became of them."""

from collections.abc import Sequence

from app.views import PictureView, Problem, View, Views, lora_file_name, problem_of, version_of, version_of_run
from backend.contract import MAX_SEED, GeneratedImage, GenerationRequest, GenerationSettings, Progress
from backend.keys import ImageKeys
from backend.runs.state import RunState, RunStatus


class LoraUsed(View):
    """A LoRA and how strongly it acts; `name` is its file's, for where the page knows no better."""

    key: str
    name: str
    strength: float


class GenerationView(View):
    """A press of Generate and what became of it."""

    run_id: str
    version: str
    status: RunStatus
    ahead: int  # how many presses are at work or wait before it, while it waits itself
    prompt: str
    base_model: str
    loras: list[LoraUsed]
    submitted_at: float
    phase: str
    phase_since: float  # seconds since 1970
    step: int
    steps: int
    seed: str
    width: int
    height: int
    count: int
    pictures: list[PictureView]  # those that are finished, in order
    preview: str  # one being drawn, as far as it has come
    preview_index: int  # which of the pictures that is
    notes: list[str]
    problem: Problem | None
    grid_id: str  # '' for what is no cell of a grid


class Feed(View):
    version: str
    runs: list[GenerationView]


class GenerationViews(Views):
    """Makes the answers about generations."""

    def feed(self, states: Sequence[RunState], going_before: int = 0) -> Feed:
        """Return the feed of pictures and those in the making, newest first as they come; a grid is one of them.

        `going_before` presses that are older than these are at work or wait.
        """
        runs: list[GenerationView] = []
        going, shown = going_before, _without_other_cells(states)
        for state in reversed(states):
            if state.run_id in shown:
                runs.append(self.generation(state, ahead=going if state.status == "queued" else 0))
            going += not state.ended
        runs.reverse()
        return Feed(version=version_of(run.version for run in runs), runs=runs)

    def generation(self, state: RunState, ahead: int = 0) -> GenerationView:
        """Return one press of Generate, with how many go before it."""
        request, progress = state.request, state.progress
        assert isinstance(request, GenerationRequest)  # noqa: S101 - its kind was asked for
        spec = self._spec(request)
        settings = request.settings_for(spec) if spec else None
        made = state.generation
        going = progress if state.status == "running" else None
        return GenerationView(
            run_id=state.run_id,
            version=f"{version_of_run(state)}.{ahead}",
            status=state.status,
            ahead=ahead,
            prompt=request.prompt,
            base_model=spec.name if spec else request.base_model_id,
            loras=[
                LoraUsed(key=use.key, name=lora_file_name(use.key), strength=use.strength) for use in request.lora_uses
            ],
            submitted_at=state.submitted_at,
            phase=progress.phase if progress else "queued",
            phase_since=_phase_since(progress) if progress else state.submitted_at,
            step=progress.step if progress else 0,
            steps=progress.steps if progress else 0,
            seed=str(request.seed if request.seed is not None else ""),
            width=settings.width if settings else 1,
            height=settings.height if settings else 1,
            count=len(made.images) if made else settings.count if settings else 1,
            pictures=self._made(state, request) if made else self._drawn(request, settings, going),
            preview=self._preview(going),
            preview_index=progress.preview_index if progress else 0,
            notes=list(made.notes) if made else [state.unsure] if state.unsure else [],
            problem=problem_of(state),
            grid_id=request.grid_id or "",
        )

    def _made(self, state: RunState, request: GenerationRequest) -> list[PictureView]:
        images = state.generation.images if state.generation else []
        return [self._generated(image, request.prompt_of(index)) for index, image in enumerate(images)]

    def _drawn(
        self, request: GenerationRequest, settings: GenerationSettings | None, progress: Progress | None
    ) -> list[PictureView]:
        """The pictures of a run that are finished while it draws the next: steps are counted over all of them."""
        if not (progress and progress.steps and settings and request.seed is not None):
            return []
        finished = min(settings.count, progress.step * settings.count // progress.steps)
        keys = [
            ImageKeys.of_run(request.owner, progress.run_id, index, request.output_format) for index in range(finished)
        ]
        return [
            PictureView(
                **self._picture(each.image, each.thumb, request.prompt_of(index)),
                width=settings.width,
                height=settings.height,
                seed=str((request.seed + index) % (MAX_SEED + 1)),
                prompt=request.prompt_of(index),
            )
            for index, each in enumerate(keys)
        ]

    def _preview(self, progress: Progress | None) -> str:
        # Not every engine shows what it draws before it is drawn.
        if progress is None or progress.preview_key is None:
            return ""
        return self._media.url("loras", progress.preview_key, version=progress.seq)

    def _generated(self, image: GeneratedImage, prompt: str) -> PictureView:
        return PictureView(
            **self._picture(image.key, image.thumb_key, prompt),
            width=image.width,
            height=image.height,
            seed=str(image.seed),
            prompt=prompt,
        )


def _phase_since(progress: Progress) -> float:
    """When the present phase began; one that came before counts its earlier time in."""
    spent = next((each.seconds for each in progress.phases if each.phase == progress.phase), 0.0)
    return progress.updated_at - spent


def _without_other_cells(states: Sequence[RunState]) -> set[str]:
    """Return the ids of what the feed shows: of each grid the newest cell stands for all."""
    newest: dict[str, str] = {}
    for state in states:
        grid_id = state.request.grid_id if isinstance(state.request, GenerationRequest) else None
        newest.setdefault(grid_id or state.run_id, state.run_id)
    return set(newest.values())
