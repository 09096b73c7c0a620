"""How long RunPod lets a job wait and work, whatever its worker says."""

from backend.contract import GenerationRequest, TrainingRequest
from backend.runs.state import kind_of

# How long jobs may take: one in the queue and at work together, and at work alone.
TIME_TO_LIVE_S = {"train": 3 * 24 * 3600, "image": 24 * 3600}
EXECUTION_TIMEOUT_S = {"train": 24 * 3600, "image": 3600}
_HARD_STOP_AFTER_S = 600  # beyond a person's own limit, which the worker keeps: its start, and saving the last step
LEAST_TIMEOUT_S = 5  # that RunPod takes


def may_take(request: TrainingRequest | GenerationRequest) -> int:
    """Return how many seconds a job may be at work before RunPod ends it, whatever the worker says."""
    longest = EXECUTION_TIMEOUT_S[kind_of(request)]
    if isinstance(request, TrainingRequest) and request.max_minutes:
        return min(longest, int(request.max_minutes * 60) + _HARD_STOP_AFTER_S)
    return longest
