"""What a training has made so far: checkpoints, each of which can be prompted with, and samples to judge them by."""

from typing import NamedTuple

from backend.contract import BaseModelSpec, Checkpoint, RunId, Sample, TrainingRequest
from backend.runs.state import RunState, RunStatus


class Making(NamedTuple):
    """A training's checkpoints and samples; the samples of one prompt have the same seed at every step."""

    run_id: RunId
    status: RunStatus
    submitted_at: float
    name: str
    spec: BaseModelSpec
    trigger_word: str
    rank: int
    checkpoints: list[Checkpoint]
    samples: list[Sample]

    def thumb_key(self, step: int) -> str | None:
        """Return the first sample of a step, or of the one before it that has any."""
        earlier = [sample for sample in self.samples if sample.step <= step]
        newest = max((sample.step for sample in earlier), default=None)
        return next((sample.key for sample in earlier if sample.step == newest), None)


def making_of(state: RunState) -> Making | None:
    """Return what a training has made; None for what is none, and for one whose base model is gone."""
    request = state.request
    if not isinstance(request, TrainingRequest) or isinstance(request.base_model, str):
        return None
    story = state.training or state.failure or state.progress
    return Making(
        run_id=state.run_id,
        status=state.status,
        submitted_at=state.submitted_at,
        name=request.lora_name,
        spec=request.base_model,
        trigger_word=request.trigger_word,
        rank=request.settings_for(request.base_model).rank,
        checkpoints=story.checkpoints if story else [],
        samples=story.samples if story else [],
    )
