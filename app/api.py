"""The studio from code: named endpoints for `gradio_client` that make the page's own calls, for the same people."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, TypeVar

import gradio as gr

from app.identifiers import dataset_id_in, run_id_in
from app.session import owner_of
from app.views import View
from app.views.gallery import GalleryViews
from app.views.generations import GenerationViews
from app.views.trainings import TrainingViews
from app.wording import in_words
from backend.contract import GenerationWishes, TrainingWishes
from backend.errors import InvalidRequest
from backend.studio import Studio

T = TypeVar("T")

# What a script may settle; the rest of a request, such as whose it is, is the studio's to say.
_TRAINING_SETTINGS = tuple(TrainingWishes.model_fields)
_GENERATION_SETTINGS = (*GenerationWishes.model_fields, "styles")
Listed = Literal["base_models", "datasets", "runs", "loras", "pictures"]


def offer(studio: Studio) -> None:
    """Add the endpoints to the page that is being built."""
    api = _Api(studio)
    endpoints = {
        "sample_dataset": api.sample_dataset, "train": api.train, "run_state": api.run_state, "cancel": api.cancel,
        "generate": api.generate, "list": api.listing,
    }  # fmt: skip
    for name, endpoint in endpoints.items():
        gr.api(endpoint, api_name=name, queue=False)


class _Api:
    """One method an endpoint; whose things are meant is asked where the page's own requests ask it."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._trainings = TrainingViews(studio.media, studio.base_models, studio.estimates.gpu_price)
        self._generations = GenerationViews(studio.media, studio.base_models)
        self._gallery = GalleryViews(studio.media, studio.base_models)

    def sample_dataset(self, request: gr.Request) -> str:
        """Make a dataset of the sample pictures, and return its id."""
        return _answered(lambda: self._studio.datasets.sample(owner_of(request)).id)

    def train(
        self,
        request: gr.Request,
        dataset_id: str,
        base_model: str,
        lora_name: str,
        trigger_word: str = "",
        settings: dict[str, Any] = {},  # noqa: B006 - never changed; Gradio shows it as the default
    ) -> str:
        """Start a training, and return its run id. `settings` are fields of TrainingWishes, such as steps and rank."""

        def start() -> str:
            owner, wishes = owner_of(request), _wishes(settings, _TRAINING_SETTINGS)
            known = {"lora_name": lora_name, "trigger_word": trigger_word}
            return self._studio.training.start(owner, dataset_id_in(dataset_id), base_model, **(wishes | known))

        return _answered(start)

    def run_state(self, request: gr.Request, run_id: str) -> dict[str, Any]:
        """Return what has become of a training or of a press of Generate, as the page is told it."""

        def look() -> dict[str, Any]:
            state = self._studio.runs.state(owner_of(request), run_id_in(run_id))
            view = self._trainings.training(state) if state.kind == "train" else self._generations.generation(state)
            return view.model_dump(mode="json")

        return _answered(look)

    def cancel(self, request: gr.Request, run_id: str) -> str:
        """Ask for a run to be stopped, and return its id."""

        def stop() -> str:
            self._studio.runs.cancel(owner_of(request), run_id_in(run_id))
            return run_id

        return _answered(stop)

    def generate(
        self,
        request: gr.Request,
        prompt: str,
        base_model: str,
        loras: list[dict[str, Any]] = [],  # noqa: B006 - never changed; Gradio shows it as the default
        settings: dict[str, Any] = {},  # noqa: B006
    ) -> str:
        """Start to make pictures, and return the run id.

        Each LoRA is {"key", "strength"}; `settings` are fields of GenerationWishes, such as count, seed and steps, and
        `styles`, a list of their names.
        """

        def start() -> str:
            owner, wishes = owner_of(request), _wishes(settings, _GENERATION_SETTINGS)
            return self._studio.generation.start(owner, base_model, **(wishes | {"prompt": prompt, "loras": loras}))

        return _answered(start)

    def listing(self, request: gr.Request, what: Listed) -> list[dict[str, Any]]:
        """Return what there is, newest first: base_models, datasets, runs (trainings), loras or pictures."""

        def look() -> list[dict[str, Any]]:
            return self._all(owner_of(request), what)

        return _answered(look)

    def _all(self, owner: str, what: str) -> list[dict[str, Any]]:
        studio = self._studio
        listings: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "base_models": lambda: [
                {"base_model": spec.id, "name": spec.name, "architecture": spec.architecture}
                for spec in studio.base_models.values()
            ],
            "datasets": lambda: [
                {"dataset_id": each.id, "name": each.name, "pictures": len(each.images)}
                for each in studio.datasets.of_owner(owner)
            ],
            "runs": lambda: _dumped(self._trainings.training_rows(studio.runs.list(owner, "train")).runs),
            "loras": lambda: [each._asdict() for each in studio.loras.choices(owner)],
            "pictures": lambda: _dumped(self._gallery.tiles(owner, studio.gallery.page(owner)).pictures),
        }
        if what not in listings:
            raise InvalidRequest(f"'{what[:40]}' can't be listed.", f"Choose one of: {', '.join(listings)}.")
        return listings[what]()


def _dumped(views: Sequence[View]) -> list[dict[str, Any]]:
    return [view.model_dump(mode="json") for view in views]


def _wishes(settings: dict[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    if strange := settings.keys() - allowed:
        raise InvalidRequest(f"'{min(strange)[:40]}' is no setting.", f"Use any of: {', '.join(allowed)}.")
    return settings


def _answered(work: Callable[[], T]) -> T:
    """Return what `work` returns; an error reaches the caller as the sentence the page would show."""
    try:
        return work()
    except Exception as error:
        raise gr.Error(in_words(error), print_exception=False) from error
