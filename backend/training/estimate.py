"""What a training will take: by the owner's past trainings of the same kind, else by what the base model declares."""

from collections.abc import Iterable
from statistics import median

from backend.contract import WAITING, BaseModelSpec, Message, TrainingRequest, TrainingSettings
from backend.runs.pace import declared_seconds
from backend.runs.runs import Runs
from backend.runs.state import RunState

_RECENT = 5  # past trainings; older ones ran on who knows what


class Estimate(Message):
    """How long, at what price, and where that comes from."""

    seconds: float
    dollars: float | None  # None on one's own computer
    past_runs: int  # how many trainings it goes by; 0 is a guess


class Estimates:
    """Estimates trainings before they start. `gpu_price` is in dollars an hour; None on one's own computer."""

    def __init__(self, runs: Runs, gpu_price: float | None) -> None:
        self._runs = runs
        self.gpu_price = gpu_price

    def of(self, owner: str, spec: BaseModelSpec, settings: TrainingSettings) -> Estimate | None:
        """Return what a training with these settings will take, or None when there is nothing to go by."""
        past = list(_alike(self._runs.list(owner, "train"), spec, settings))[:_RECENT]
        if past:
            seconds = median(pace for pace, _ in past) * settings.steps + median(around for _, around in past)
        elif (declared := declared_seconds(spec, settings)) is not None:
            seconds = declared
        else:
            return None
        return Estimate(seconds=round(seconds, 1), dollars=self.price_of(seconds), past_runs=len(past))

    def price_of(self, seconds: float) -> float | None:
        """Return what so much time on the trainer's GPU costs, in dollars."""
        return None if self.gpu_price is None else round(seconds / 3600 * self.gpu_price, 2)

    def minutes_for(self, dollars: float) -> float | None:
        """Return how long the trainer's GPU can be had for; None where it costs nothing."""
        return dollars / self.gpu_price * 60 if self.gpu_price else None


def _alike(
    states: Iterable[RunState], spec: BaseModelSpec, settings: TrainingSettings
) -> Iterable[tuple[float, float]]:
    """Yield seconds a step, and seconds around the steps, of finished trainings that did the same in each step."""
    for state in states:
        request = state.request
        if not isinstance(request, TrainingRequest) or state.training is None or request.base_model_id != spec.id:
            continue
        used = request.settings_for(spec)
        if (sorted(used.resolution), used.batch_size, used.prior_preservation) != (
            sorted(settings.resolution), settings.batch_size, settings.prior_preservation,
        ):  # fmt: skip
            continue
        spent = {each.phase: each.seconds for each in state.training.phases if each.phase not in WAITING}
        trained = spent.pop("training", 0.0)
        if trained:
            yield trained / state.training.steps, sum(spent.values())
