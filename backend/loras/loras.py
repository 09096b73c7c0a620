"""LoRAs: everything there is to prompt with, and what a person may do with it. How it is stored is the shelf's."""

import time
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pydantic import ValidationError

from backend.contract import (
    BaseModelSpec,
    Checkpoint,
    GenerationRequest,
    LoraId,
    LoraLabel,
    LoraRecord,
    RunId,
    explain,
    file_stem,
)
from backend.errors import InvalidRequest, NotFound
from backend.keys import ImageKeys, LoraKeys
from backend.loras.imports import describe_file
from backend.loras.shelf import Lora, LoraShelf
from backend.pictures import Limits, thumbnail
from backend.runs.makings import Making, making_of
from backend.runs.runs import Runs
from backend.storage import Storage, sha256_of
from backend.usage.limits import UsageLimits

_PICTURES = 24


class LoraChoice(NamedTuple):
    """A LoRA file somebody can pick: a finished one, or a checkpoint of a run."""

    key: str
    name: str
    detail: str  # 'step 200', or '' for a finished one
    architecture: str
    base_model: str
    trigger_word: str
    thumb_key: str | None


class Removal(NamedTuple):
    """What deleting a LoRA would remove, and what stays."""

    bytes: int
    checkpoints: int  # of its run; they stay, and can be promoted again


class Loras:
    """Lists LoRAs, and does what people ask to be done with them."""

    def __init__(
        self,
        storage: Storage,
        runs: Runs,
        base_models: dict[str, BaseModelSpec],
        limits: Limits,
        max_bytes: int,
        usage: UsageLimits | None = None,
    ) -> None:
        self._bucket = storage.loras
        self._pictures = storage.outputs
        self._runs = runs
        self._base_models = base_models
        self._limits = limits
        self._usage = usage  # None: nobody counts
        self._shelf = LoraShelf(storage.loras)
        self.max_bytes = max_bytes  # of an imported file

    # -------------------------------------------------------------------------------- what there is

    def of_owner(self, owner: str) -> list[Lora]:
        """Return the owner's LoRAs, newest first: one listing, and a reading of what is new in it."""
        return self._shelf.all(owner)

    def get(self, owner: str, lora_id: LoraId) -> Lora:
        """Return one LoRA. Raises NotFound."""
        return self._shelf.one(owner, lora_id)

    def choices(self, owner: str, named: Collection[str] = ()) -> list[LoraChoice]:
        """Return what can be prompted with now: checkpoints of trainings first, then LoRAs.

        Those of a training that is done would be too many; the ones `named` by their keys are there.
        """
        loras = self._shelf.all(owner)
        known = {lora.record.id for lora in loras}
        checkpoints = [
            _checkpoint_choice(making, checkpoint)
            for making in self._makings(owner)
            for checkpoint in reversed(making.checkpoints)
            if checkpoint.key in named
            or not (making.status == "done" or {making.run_id, f"{making.run_id}-{checkpoint.step}"} & known)
        ]
        return checkpoints + [_choice(lora) for lora in loras]

    def without_lora(self, owner: str, loras: list[Lora]) -> list[Making]:
        """Return what the trainings have made that have no LoRA among `loras`, newest first."""
        known = {lora.record.id for lora in loras}
        return [making for making in self._makings(owner) if making.run_id not in known]

    def made_of(self, owner: str, run_id: RunId) -> dict[int, LoraId]:
        """Return which of a training's checkpoints are LoRAs, by their steps."""
        records = [lora.record for lora in self.of_owner(owner)]
        return {each.steps: each.id for each in records if each.run_id == run_id and each.steps}

    def making(self, owner: str, run_id: RunId) -> Making:
        """Return what a training has made. Raises NotFound."""
        if making := making_of(self._runs.state(owner, run_id)):
            return making
        raise NotFound("There is no such training.", "Reload the page.")

    def pictures(self, owner: str, lora: Lora) -> list[ImageKeys]:
        """Return the pictures made with a LoRA by the owner's newest runs, newest first."""
        made = [
            ImageKeys(owner, PurePosixPath(image.key).stem)
            for state in self._runs.list(owner, "image")
            if state.generation and _uses(state.request, lora.record.key)
            for image in state.generation.images
        ]
        return [keys for keys in made[:_PICTURES] if self._pictures.exists(keys.record)]

    # -------------------------------------------------------------------------------- what may be done

    def describe(self, owner: str, lora_id: LoraId, *, name: str, note: str, tags: list[str]) -> Lora:
        """Name a LoRA and say of it what a person wants to remember. Its key stays as it is."""
        keys = self.get(owner, lora_id).keys
        cleaned = [tag for tag in dict.fromkeys(" ".join(tag.split()) for tag in tags) if tag]
        try:
            said = LoraLabel(name=name, note=note.strip(), tags=cleaned)
        except ValidationError as error:
            raise InvalidRequest(explain(error)) from error
        wanted = {"name": said.name, "note": said.note, "tags": said.tags}
        self._shelf.change_label(keys, lambda now: now.model_copy(update=wanted))
        return self.get(owner, lora_id)

    def show_sample(self, owner: str, lora_id: LoraId, key: str) -> Lora:
        """Make a sample of its run a LoRA's thumbnail. Raises NotFound for one that isn't."""
        lora = self.get(owner, lora_id)
        samples = self.making(owner, lora.record.run_id).samples if lora.record.run_id else []
        if key not in {sample.key for sample in samples}:
            raise NotFound("There is no such sample of this LoRA's training.", "Reload the page.")
        return self._show(lora, thumbnail(self._bucket.get(key)))

    def show_picture(self, owner: str, lora_id: LoraId, image_id: str) -> Lora:
        """Make a picture a LoRA's thumbnail; it is copied, so the picture may go. Raises NotFound."""
        lora = self.get(owner, lora_id)
        try:
            return self._show(lora, self._pictures.get(ImageKeys(owner, image_id).thumb))
        except NotFound as error:
            raise NotFound("This picture no longer exists.", "Choose another one.") from error

    def mark_published(self, owner: str, lora_id: LoraId, address: str) -> None:
        """Note where on the Hub a LoRA is."""
        self._shelf.change_label(LoraKeys(owner, lora_id), lambda now: now.model_copy(update={"published": address}))

    def promote(self, owner: str, run_id: RunId, step: int) -> Lora:
        """Make a checkpoint a LoRA of its own, whatever becomes of its run. Done twice, it is there once."""
        making = self.making(owner, run_id)
        checkpoint = next((each for each in making.checkpoints if each.step == step), None)
        if checkpoint is None:
            raise NotFound(f"This training has no checkpoint of step {step:,}.", "Reload the page.")
        keys = LoraKeys(owner, f"{run_id}-{step}")
        if self._bucket.exists(keys.record):
            return self.get(owner, keys.lora_id)
        self._check_room(owner, checkpoint.bytes)
        file, sample = keys.file(file_stem(f"{making.name[:50]} {step}")), making.thumb_key(step)
        self._bucket.copy(checkpoint.key, file)
        thumb_key = self._put_thumb(keys, thumbnail(self._bucket.get(sample))) if sample else None
        return self._keep(
            LoraRecord(
                id=keys.lora_id,
                owner=owner,
                name=f"{making.name[:64].strip()} step {step}",
                key=file,
                sha256=checkpoint.sha256,
                bytes=checkpoint.bytes,
                base_model=making.spec.id,
                architecture=making.spec.architecture,
                trigger_word=making.trigger_word,
                thumb_key=thumb_key,
                run_id=run_id,
                rank=making.rank,
                steps=step,
                created_at=round(time.time(), 3),
            )
        )

    def take_in(self, owner: str, path: Path, file_name: str) -> tuple[Lora, bool]:
        """Keep a LoRA file from elsewhere; return it, and whether it is new. Raises LoraRejected, saying why not."""
        self._check_room(owner, path.stat().st_size)
        described = describe_file(path, file_name, self._base_models.values(), self._limits)
        sha256 = sha256_of(path)
        if same := next((lora for lora in self.of_owner(owner) if lora.record.sha256 == sha256), None):
            return same, False
        keys = LoraKeys(owner, f"import-{sha256[:32]}")
        file = keys.file(file_stem(PurePosixPath(file_name).stem))
        self._bucket.upload(file, path, metadata={"sha256": sha256})
        record = LoraRecord(
            id=keys.lora_id,
            owner=owner,
            name=described.name,
            key=file,
            sha256=sha256,
            bytes=path.stat().st_size,
            base_model=described.base_model.id,
            architecture=described.base_model.architecture,
            trigger_word=described.trigger_word,
            thumb_key=self._put_thumb(keys, described.thumb) if described.thumb else None,
            rank=described.rank,
            steps=described.steps,
            created_at=round(time.time(), 3),
        )
        return self._keep(record), True

    def removal(self, owner: str, lora_id: LoraId) -> Removal:
        """Return what deleting a LoRA would remove, and what stays."""
        record = self.get(owner, lora_id).record
        try:
            kept = self.making(owner, record.run_id).checkpoints if record.run_id else []
        except NotFound:
            kept = []
        return Removal(record.bytes, len(kept))

    def delete(self, owner: str, lora_id: LoraId) -> None:
        """Delete a LoRA for good: the record first, so that none is shown without its file."""
        keys = self.get(owner, lora_id).keys
        self._bucket.delete([keys.record])
        self._bucket.delete([stored.key for stored in self._bucket.list_all(keys.prefix)])

    def _makings(self, owner: str) -> list[Making]:
        """Return what the trainings that have a checkpoint have made, newest first."""
        makings = map(making_of, self._runs.list(owner, "train"))
        return [making for making in makings if making and making.checkpoints]

    def _keep(self, record: LoraRecord) -> Lora:
        """Store the record, behind everything it names."""
        self._bucket.put_message(LoraKeys(record.owner, record.id).record, record)
        if self._usage:
            self._usage.note_stored(record.owner, record.bytes)
        return self.get(record.owner, record.id)

    def _check_room(self, owner: str, more_bytes: int) -> None:
        if self._usage:
            self._usage.check_storage(owner, more_bytes)

    def _put_thumb(self, keys: LoraKeys, picture: bytes) -> str:
        self._bucket.put(keys.thumb(picture), picture)
        return keys.thumb(picture)

    def _show(self, lora: Lora, picture: bytes) -> Lora:
        key = self._put_thumb(lora.keys, picture)
        self._shelf.change_label(lora.keys, lambda now: now.model_copy(update={"thumb_key": key}))
        if lora.label.thumb_key not in (None, key):
            self._bucket.delete([str(lora.label.thumb_key)])
        return self.get(lora.record.owner, lora.record.id)


def _uses(request: object, key: str) -> bool:
    return isinstance(request, GenerationRequest) and any(use.key == key for use in request.lora_uses)


def _choice(lora: Lora) -> LoraChoice:
    return LoraChoice(
        key=lora.record.key,
        name=lora.name,
        detail="",
        architecture=lora.record.architecture,
        base_model=lora.record.base_model,
        trigger_word=lora.record.trigger_word,
        thumb_key=lora.thumb_key,
    )


def _checkpoint_choice(making: Making, checkpoint: Checkpoint) -> LoraChoice:
    return LoraChoice(
        key=checkpoint.key,
        name=making.name,
        detail=f"step {checkpoint.step}",
        architecture=making.spec.architecture,
        base_model=making.spec.id,
        trigger_word=making.trigger_word,
        thumb_key=making.thumb_key(checkpoint.step),
    )
