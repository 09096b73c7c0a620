"""LoRAs: what there is to prompt with, from finished trainings and from checkpoints of those still going on."""

from typing import NamedTuple

from backend.contract import LoraRecord, TrainingRequest
from backend.runs import Runs, RunState
from backend.storage import LoraKeys, Storage


class LoraChoice(NamedTuple):
    """A LoRA file somebody can pick: a finished one, or a checkpoint of a run."""

    key: str
    name: str
    detail: str  # 'step 200', or '' for a finished one
    architecture: str
    base_model: str
    trigger_word: str
    thumb_key: str | None


class Loras:
    """Lists LoRAs."""

    def __init__(self, storage: Storage, runs: Runs) -> None:
        self._bucket = storage.loras
        self._runs = runs
        self._records: dict[LoraKeys, LoraRecord] = {}  # a record never changes once it is there

    def finished(self, owner: str) -> list[LoraRecord]:
        """Return the owner's finished LoRAs, newest first."""
        folders = self._bucket.list_folders(f"loras/{owner}/")
        return [record for lora_id in folders if (record := self._record(LoraKeys(owner, lora_id)))]

    def choices(self, owner: str) -> list[LoraChoice]:
        """Return what can be prompted with now: checkpoints of trainings first, then finished LoRAs."""
        checkpoints = [choice for state in self._runs.list(owner, "train") for choice in _checkpoints(state)]
        return checkpoints + [_choice(record) for record in self.finished(owner)]

    def _record(self, keys: LoraKeys) -> LoraRecord | None:
        if keys not in self._records and (record := self._bucket.find_message(keys.record, LoraRecord)):
            self._records[keys] = record
        return self._records.get(keys)


def _choice(record: LoraRecord) -> LoraChoice:
    return LoraChoice(
        key=record.key,
        name=record.name,
        detail="",
        architecture=record.architecture,
        base_model=record.base_model,
        trigger_word=record.trigger_word,
        thumb_key=record.thumb_key,
    )


def _checkpoints(state: RunState) -> list[LoraChoice]:
    """The checkpoints of a training without a LoRA of its own, newest first."""
    request = state.request
    if state.status == "done" or not isinstance(request, TrainingRequest) or isinstance(request.base_model, str):
        return []
    story = state.failure or state.progress
    kept = story.checkpoints if story else []
    samples = {sample.step: sample.key for sample in (story.samples if story else [])}
    return [
        LoraChoice(
            key=checkpoint.key,
            name=request.lora_name,
            detail=f"step {checkpoint.step}",
            architecture=request.base_model.architecture,
            base_model=request.base_model.id,
            trigger_word=request.trigger_word,
            thumb_key=samples.get(checkpoint.step),
        )
        for checkpoint in reversed(kept)
    ]
