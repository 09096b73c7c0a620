"""How presses of Generate are shown, and what became of them."""

from collections.abc import Iterable

from app.views import PictureView, Problem, View, Views, lora_name, problem_of, version_of, version_of_run
from backend.contract import GeneratedImage, GenerationRequest
from backend.runs import RunState, RunStatus


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


class Feed(View):
    version: str
    runs: list[GenerationView]


class GenerationViews(Views):
    """Makes the answers about generations."""

    def generations(self, states: Iterable[RunState]) -> Feed:
        """Return the feed of pictures and those in the making."""
        runs = [self.generation(state) for state in states]
        return Feed(version=version_of(run.version for run in runs), runs=runs)

    def generation(self, state: RunState) -> GenerationView:
        """Return one press of Generate."""
        request = state.request
        assert isinstance(request, GenerationRequest)  # noqa: S101 - its kind was asked for
        spec = self._spec(request)
        settings = request.settings_for(spec) if spec else None
        made = state.generation
        return GenerationView(
            run_id=state.run_id,
            version=version_of_run(state),
            status=state.status,
            prompt=request.prompt,
            base_model=spec.name if spec else request.base_model_id,
            loras=[lora_name(use) for use in request.lora_uses],
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
            problem=problem_of(state),
        )

    def _generated(self, image: GeneratedImage, prompt: str) -> PictureView:
        return PictureView(
            **self._picture(image.key, image.thumb_key, prompt),
            width=image.width,
            height=image.height,
            seed=str(image.seed),
        )
