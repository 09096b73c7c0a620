"""How LoRAs are shown: to choose from, on their cards, and with what they were made from."""

from collections.abc import Iterable

from app.views import View, Views, version_of
from app.views.trainings import CheckpointView, SampleView
from backend.contract import file_stem
from backend.keys import ImageKeys
from backend.loras.hub import weights_name
from backend.loras.loras import LoraChoice
from backend.loras.publishing import Preview, Publication
from backend.loras.shelf import Lora
from backend.runs.makings import Making


class LoraCard(View):
    """A LoRA to choose."""

    key: str
    name: str
    detail: str
    architecture: str
    base_model: str
    trigger_word: str
    thumb: str


class LoraCards(View):
    version: str
    loras: list[LoraCard]


class LoraItem(View):
    """A LoRA on the LoRAs tab."""

    lora_id: str
    key: str
    name: str
    base_model: str
    base_model_id: str
    trigger_word: str
    run_id: str  # '' for an imported one
    dataset: str
    dataset_id: str
    steps: int | None
    rank: int | None
    bytes: int
    created_at: float
    note: str
    tags: list[str]
    thumb: str
    download: str
    published: str


class MakingItem(View):
    """A training whose checkpoints can be promoted, and that has no LoRA."""

    run_id: str
    name: str
    base_model: str
    checkpoints: int
    thumb: str


class Library(View):
    version: str
    loras: list[LoraItem]
    makings: list[MakingItem]
    max_bytes: int  # of an imported file
    publish_missing: str  # what somebody lacks to publish; '' when nothing


class Imported(View):
    lora: LoraItem
    new: bool


class MadePicture(View):
    image_id: str
    thumb: str


class MadePictures(View):
    pictures: list[MadePicture]


class SampleToChoose(SampleView):
    key: str


class Comparison(View):
    """A training's checkpoints beside each other."""

    run_id: str
    name: str
    base_model_id: str
    trigger_word: str
    checkpoints: list[CheckpointView]
    samples: list[SampleToChoose]


class RemovalView(View):
    bytes: int
    checkpoints: int


class PreviewView(View):
    repo: str
    card: str
    files: list[str]


class PublicationView(View):
    state: str
    message: str
    address: str


class LoraViews(Views):
    """Makes the answers about LoRAs."""

    def loras(self, choices: Iterable[LoraChoice]) -> LoraCards:
        """Return the LoRAs to choose from."""
        known = list(choices)
        version = version_of(f"{each.key} {each.name} {each.thumb_key}" for each in known)
        return LoraCards(version=version, loras=[self._lora(choice) for choice in known])

    def library(self, loras: list[Lora], makings: list[Making], max_bytes: int, publish_missing: str) -> Library:
        """Return everything on the LoRAs tab."""
        marks = [f"{lora.record.id} {lora.label.model_dump_json()}" for lora in loras]
        marks += [f"{making.run_id} {len(making.checkpoints)} {len(making.samples)}" for making in makings]
        return Library(
            version=version_of(marks),
            loras=[self.item(lora) for lora in loras],
            makings=[self._making(making) for making in makings],
            max_bytes=max_bytes,
            publish_missing=publish_missing,
        )

    def item(self, lora: Lora) -> LoraItem:
        """Return one LoRA."""
        record, label = lora.record, lora.label
        return LoraItem(
            lora_id=record.id,
            key=record.key,
            name=lora.name,
            base_model=self._base_model_name(record.base_model),
            base_model_id=record.base_model,
            trigger_word=record.trigger_word,
            run_id=record.run_id or "",
            dataset=lora.dataset.name if lora.dataset else "",
            dataset_id=lora.dataset.id if lora.dataset else "",
            steps=record.steps,
            rank=record.rank,
            bytes=record.bytes,
            created_at=record.created_at,
            note=label.note,
            tags=label.tags,
            thumb=self._media.url("loras", lora.thumb_key) if lora.thumb_key else "",
            download=self._media.url("loras", record.key, download_as=weights_name(lora)),
            published=label.published,
        )

    def made_pictures(self, pictures: Iterable[ImageKeys]) -> MadePictures:
        """Return the pictures made with a LoRA."""
        made = [MadePicture(image_id=keys.image_id, thumb=self._media.url("outputs", keys.thumb)) for keys in pictures]
        return MadePictures(pictures=made)

    def comparison(self, making: Making) -> Comparison:
        """Return a training's checkpoints with what they drew."""
        stem = file_stem(making.name)
        return Comparison(
            run_id=making.run_id,
            name=making.name,
            base_model_id=making.spec.id,
            trigger_word=making.trigger_word,
            checkpoints=[
                CheckpointView(
                    step=each.step,
                    key=each.key,
                    bytes=each.bytes,
                    download=self._media.url("loras", each.key, download_as=f"{stem}_{each.step:06d}.safetensors"),
                )
                for each in making.checkpoints
            ],
            samples=[
                SampleToChoose(step=each.step, prompt=each.prompt, url=self._media.url("loras", each.key), key=each.key)
                for each in making.samples
            ],
        )

    def _lora(self, choice: LoraChoice) -> LoraCard:
        return LoraCard(
            key=choice.key,
            name=choice.name,
            detail=choice.detail,
            architecture=choice.architecture,
            base_model=self._base_model_name(choice.base_model),
            trigger_word=choice.trigger_word,
            thumb=self._media.url("loras", choice.thumb_key) if choice.thumb_key else "",
        )

    def _making(self, making: Making) -> MakingItem:
        thumb = making.thumb_key(making.checkpoints[-1].step)
        return MakingItem(
            run_id=making.run_id,
            name=making.name,
            base_model=making.spec.name,
            checkpoints=len(making.checkpoints),
            thumb=self._media.url("loras", thumb) if thumb else "",
        )


def preview_view(preview: Preview) -> PreviewView:
    """Return what would be published."""
    return PreviewView(repo=preview.repo, card=preview.card, files=preview.files)


def publication_view(publication: Publication) -> PublicationView:
    """Return how far publishing has got."""
    return PublicationView(state=publication.state, message=publication.message, address=publication.address)
