"""Where a LoRA that made a picture comes from: its run, the checkpoint it is, and the dataset it learnt from."""

from pathlib import PurePosixPath
from typing import NamedTuple

from backend.contract import Dataset, LoraLabel, LoraRecord, LoraUse, RunId, TrainingRequest
from backend.keys import DatasetKeys, LoraKeys, RunKeys, is_of
from backend.storage import Bucket


class Origin(NamedTuple):
    """What is known of one LoRA; what has been deleted keeps its name, where anything still tells it."""

    key: str
    strength: float
    name: str
    there: bool  # the file can still be prompted with
    run_id: RunId = ""
    run_there: bool = False
    step: int | None = None  # the checkpoint it is
    dataset_id: str = ""
    dataset_name: str = ""
    pictures: int = 0  # in the dataset as the run used it
    dataset_there: bool = False


def origin_of(bucket: Bucket, owner: str, use: LoraUse) -> Origin:
    """Return where a LoRA of the owner's comes from. A LoRA that was imported has no run."""
    stem = PurePosixPath(use.key).stem
    origin = Origin(use.key, use.strength, stem, there=is_of(owner, use.key) and bucket.exists(use.key))
    if not is_of(owner, use.key):
        return origin
    kind, _, thing = use.key.split("/")[:3]
    if kind == "runs":
        step = stem.rpartition("_")[2]
        return _of_run(bucket, owner, origin._replace(run_id=thing, step=int(step) if step.isdigit() else None))
    record = bucket.find_message(LoraKeys(owner, thing).record, LoraRecord)
    if record:
        label = bucket.find_message(LoraKeys(owner, thing).label, LoraLabel)
        origin = origin._replace(name=(label and label.name) or record.name, step=record.steps)
    # A LoRA that a training made is called as its run, which tells even when the LoRA's record is gone.
    run_id = record.run_id if record else thing if thing.startswith("train-") else None
    return _of_run(bucket, owner, origin._replace(run_id=run_id)) if run_id else origin


def _of_run(bucket: Bucket, owner: str, origin: Origin) -> Origin:
    keys = RunKeys(owner, origin.run_id)
    request = bucket.find_message(keys.request, TrainingRequest)
    if request is None:
        return origin
    named = origin.name if origin.key.startswith("loras/") and origin.step is not None else request.lora_name
    origin = origin._replace(run_there=True, name=named)
    dataset = bucket.find_message(keys.dataset, Dataset)
    if dataset is None:
        return origin
    there = bucket.exists(DatasetKeys(owner, dataset.id).record)
    return origin._replace(
        dataset_id=dataset.id, dataset_name=dataset.name, pictures=len(dataset.images), dataset_there=there
    )
