"""How long runs will be on a GPU, by what their base model declares."""

from backend.contract import BaseModelSpec, GenerationRequest, TrainingRequest, TrainingSettings

# What is expected of a run when nothing is declared.
_UNKNOWN_TRAINING_S = 3600.0
_IMAGE_START_S, _PICTURE_S = 20.0, 10.0


def declared_seconds(spec: BaseModelSpec, settings: TrainingSettings) -> float | None:
    """Return how long a training takes by its base model's pace; None when it declares none."""
    if spec.pace is None:
        return None
    work = settings.batch_size * _area(settings.resolution) / _area(spec.training.resolution)
    return spec.pace.seconds_per_step * work * settings.steps + spec.pace.seconds_around


def expected_seconds(request: TrainingRequest | GenerationRequest) -> float:
    """Return about how long a run will be on a GPU. Nothing is asked or read for it."""
    if isinstance(request, GenerationRequest):
        return _IMAGE_START_S + _PICTURE_S * (request.count or 1)
    spec = request.base_model
    declared = None if isinstance(spec, str) else declared_seconds(spec, request.settings_for(spec))
    seconds = _UNKNOWN_TRAINING_S if declared is None else declared
    return min(seconds, request.max_minutes * 60) if request.max_minutes else seconds


def _area(resolution: list[int]) -> float:
    return sum(side * side for side in resolution) / len(resolution)
