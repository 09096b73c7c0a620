"""How long pictures will take, by the owner's past ones with the same base model. Pure."""

from collections.abc import Iterable
from statistics import median

from backend.contract import WAITING, BaseModelSpec, GenerationRequest, GenerationSettings
from backend.runs.state import RunState

_RECENT = 8  # past runs; older ones ran on who knows what


def drawing_seconds(
    states: Iterable[RunState], spec: BaseModelSpec, wanted: Iterable[GenerationSettings]
) -> float | None:
    """Return how long one worker is at work on pictures with these settings; None when nothing is known."""
    past = list(_alike(states, spec))[:_RECENT]
    if not past:
        return None
    pace, around = median(pace for pace, _ in past), median(around for _, around in past)
    return round(sum(pace * _work(settings) + around for settings in wanted), 1)


def _alike(states: Iterable[RunState], spec: BaseModelSpec) -> Iterable[tuple[float, float]]:
    """Yield seconds a step and pixel, and seconds around the steps, of runs that made pictures with the base model."""
    for state in states:
        request = state.request
        if not isinstance(request, GenerationRequest) or state.generation is None or request.base_model_id != spec.id:
            continue
        spent = {each.phase: each.seconds for each in state.generation.phases if each.phase not in WAITING}
        drawing = spent.pop("generating", 0.0)
        if drawing:
            yield drawing / _work(request.settings_for(spec)), sum(spent.values())


def _work(settings: GenerationSettings) -> int:
    return settings.width * settings.height * settings.steps * settings.count
