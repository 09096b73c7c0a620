"""Trainings: from what a person chose on the Train screen to a submitted run."""

from typing import Any

from pydantic import ValidationError

from backend.contract import BaseModelSpec, Dataset, DatasetId, RunId, TrainingRequest, explain, new_run_id
from backend.datasets.datasets import Datasets
from backend.errors import DatasetRejected, InvalidRequest, NotFound
from backend.keys import RunKeys
from backend.runs.runs import Runs
from backend.storage import Storage
from backend.toolkit_config import USUAL_GPU_GB, config_text
from backend.training.preflight import Preflight

_MOST_CHECKPOINTS = 200  # of one run: each is a file of up to some hundred megabytes, and stays


class Training:
    """Starts trainings."""

    def __init__(
        self,
        storage: Storage,
        runs: Runs,
        datasets: Datasets,
        base_models: dict[str, BaseModelSpec],
        preflight: Preflight,
    ) -> None:
        self._bucket = storage.loras
        self._preflight = preflight
        self._runs = runs
        self._datasets = datasets
        self._base_models = base_models

    def start(self, owner: str, dataset_id: DatasetId, base_model: str, **wishes: Any) -> RunId:
        """Train a LoRA on a dataset as it is now, and return the run's id.

        `wishes` are fields of TrainingRequest. Raises InvalidRequest for one that can't be, naming it; and whatever
        stands in the way of training, before anything is spent.
        """
        if base_model not in self._base_models:
            raise NotFound(f"There is no base model '{base_model}'.", f"Choose one of: {', '.join(self._base_models)}.")
        keys = RunKeys(owner, new_run_id("train"))
        spec = self._base_models[base_model]
        request = _request(spec, keys, wishes)
        dataset = self._datasets.get(owner, dataset_id)
        if not dataset.images:
            raise DatasetRejected(f"The dataset '{dataset.name}' has no pictures.", "Add some and start again.")
        self._preflight.check(spec, request.settings_for(spec))
        self._bucket.put_message(keys.dataset, dataset)
        return self._runs.submit(request)

    def dataset_of(self, owner: str, run_id: RunId) -> DatasetId:
        """Return the dataset a training used, made again as the training used it if it has been deleted since."""
        used = self._bucket.get_message(RunKeys(owner, run_id).dataset, Dataset)
        try:
            return self._datasets.get(owner, used.id).id
        except NotFound:
            return self._datasets.restore(used).id

    def toolkit_config(self, owner: str, run_id: RunId) -> str:
        """Return what ai-toolkit is told for a training, on a GPU of the usual memory. Raises NotFound."""
        request = self._runs.state(owner, run_id).request
        if not isinstance(request, TrainingRequest):
            raise NotFound("This run is no training.")
        return config_text(request, USUAL_GPU_GB)


def _request(spec: BaseModelSpec, keys: RunKeys, wishes: dict[str, Any]) -> TrainingRequest:
    given = {name: value for name, value in wishes.items() if value is not None}
    fixed = {"run_id": keys.run_id, "owner": keys.owner, "base_model": spec.model_dump(), "dataset_key": keys.dataset}
    try:
        request = TrainingRequest.model_validate(given | fixed)
        settings = request.settings_for(spec)
    except ValidationError as error:
        raise InvalidRequest(explain(error)) from error
    if (kept := settings.steps // settings.save_every) > _MOST_CHECKPOINTS:
        raise InvalidRequest(
            f"Saving every {settings.save_every:,} steps of {settings.steps:,} would keep {kept:,} checkpoints; "
            f"the most is {_MOST_CHECKPOINTS}.",
            "Save less often.",
        )
    return request
