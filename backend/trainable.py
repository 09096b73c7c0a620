"""What can be trained: which base models by which engine, and with what settings.

The screen asks before a training costs anything, and the worker before it fetches anything.
"""

from collections.abc import Callable

from backend.contract import BaseModelSpec, TrainingSettings
from backend.diffusers_options import options_of
from backend.errors import InvalidRequest
from backend.settings import TrainingEngine
from backend.toolkit_config import memory_plan, toolkit_block


def check_trainable(spec: BaseModelSpec, settings: TrainingSettings, engine: TrainingEngine) -> None:
    """Raise BaseModelRejected for a base model that an engine can't train, InvalidRequest for a setting, by field."""
    for resolution in settings.resolution:
        _check_resolution(spec, resolution)
    if settings.prior_preservation and not spec.prior_prompts:
        raise InvalidRequest(f"'prior_preservation' is on, but {spec.name} declares no prior_prompts.", "Leave it out.")
    _CHECKS[engine](spec, settings)


def _check_resolution(spec: BaseModelSpec, resolution: int) -> None:
    if resolution % spec.size_multiple:
        raise InvalidRequest(
            f"'resolution' is {resolution} pixels; {spec.name} needs a multiple of {spec.size_multiple}.",
            f"Use {max(spec.size_multiple, round(resolution / spec.size_multiple) * spec.size_multiple)}.",
        )
    if resolution**2 > spec.max_pixels:
        raise InvalidRequest(
            f"'resolution' is {resolution} pixels; {spec.name} takes at most {int(spec.max_pixels**0.5)}.",
            f"Use {', '.join(str(side) for side in spec.training.resolution)}.",
        )


def _check_diffusers(spec: BaseModelSpec, settings: TrainingSettings) -> None:
    options_of(spec)


def _check_ai_toolkit(spec: BaseModelSpec, settings: TrainingSettings) -> None:
    memory_plan(settings, toolkit_block(spec).memory, gpu_memory_gb=0)


_CHECKS: dict[TrainingEngine, Callable[[BaseModelSpec, TrainingSettings], None]] = {
    "diffusers": _check_diffusers,
    "ai_toolkit": _check_ai_toolkit,
}
