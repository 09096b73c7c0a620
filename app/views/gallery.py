"""How pictures are shown: as a tile, and each with all that is known of it."""

from pathlib import PurePosixPath

from app.views import PictureView, View, Views, lora_file_name
from backend.contract import ImageRecord, LoraUse
from backend.gallery.gallery import Page, Summary
from backend.gallery.recognition import Recognised
from backend.keys import ImageKeys
from backend.loras.lineage import Origin
from backend.loras.shelf import Lora

_ALT = 140  # characters of a prompt that name a tile


class Tile(View):
    image_id: str
    thumb: str
    width: int
    height: int
    prompt: str
    favourite: bool


class TilePage(View):
    pictures: list[Tile]
    after: str
    whole: bool
    trouble: str  # why this may be out of date


class Choice(View):
    """Something pictures can be filtered by."""

    value: str
    name: str
    pictures: int


class SummaryView(View):
    wanted: int
    pictures: int
    base_models: list[Choice]
    loras: list[Choice]


class OriginView(View):
    """A LoRA of a picture, and where it comes from; what has been deleted is said."""

    key: str
    name: str
    strength: float
    there: bool
    run_id: str
    run_there: bool
    step: int | None
    dataset_id: str
    dataset_name: str
    pictures: int
    dataset_there: bool


class PictureDetail(PictureView):
    """Everything known of one picture."""

    key: str
    run_id: str
    prompt_template: str
    negative_prompt: str
    base_model: str
    base_model_there: bool
    steps: int
    guidance: float
    created_at: float
    favourite: bool
    denoise: float | None  # of one that was started from another
    start_id: str  # that other one, if it is of the gallery
    origins: list[OriginView]


class FoundSettings(View):
    """What a PNG file says of how it was made; what it doesn't say is None."""

    tool: str
    prompt: str
    negative_prompt: str
    model: str
    base_model: str  # ours, '' if it isn't here
    base_model_name: str
    heeds_negative_prompt: bool
    loras: list[LoraUse]
    lora_names: list[str]
    missing_loras: list[str]
    seed: str | None
    steps: int | None
    guidance: float | None
    width: int | None
    height: int | None


class GalleryViews(Views):
    """Makes the answers about pictures."""

    def tiles(self, owner: str, page: Page) -> TilePage:
        """Return a page of the gallery."""
        tiles = [
            Tile(
                image_id=row.image_id,
                thumb=self._media.url("outputs", ImageKeys(owner, row.image_id).thumb),
                width=row.width,
                height=row.height,
                prompt=row.prompt[:_ALT],
                favourite=row.favourite,
            )
            for row in page.rows
        ]
        return TilePage(pictures=tiles, after=page.after, whole=page.whole, trouble=page.trouble)

    def summary(self, summary: Summary, loras: list[Lora]) -> SummaryView:
        """Return how many pictures there are, and what they can be filtered by; `loras` are those there are."""
        names = {lora.record.key: lora.name for lora in loras}
        tally = summary.tally
        return SummaryView(
            wanted=summary.wanted,
            pictures=tally.pictures,
            base_models=[
                Choice(value=each, name=self._base_model_name(each), pictures=count)
                for each, count in tally.base_models
            ],
            loras=[
                Choice(value=key, name=names.get(key) or lora_file_name(key), pictures=count)
                for key, count in tally.loras
            ],
        )

    def picture(self, record: ImageRecord, favourite: bool, origins: list[Origin]) -> PictureDetail:
        """Return everything known of one picture."""
        return PictureDetail(
            **self._picture(record.key, record.thumb_key, record.prompt),
            width=record.width,
            height=record.height,
            seed=str(record.seed),
            key=record.key,
            run_id=record.run_id,
            prompt=record.prompt,
            prompt_template=record.prompt_template,
            negative_prompt=record.negative_prompt,
            base_model=self._base_model_name(record.base_model),
            base_model_there=record.base_model in self._base_models,
            steps=record.steps,
            guidance=record.guidance,
            created_at=record.created_at,
            favourite=favourite,
            denoise=record.denoise if record.init_image else None,
            start_id=_image_id(record.init_image),
            origins=[OriginView(**origin._asdict()) for origin in origins],
        )

    def found(self, recognised: Recognised) -> FoundSettings:
        """Return what a PNG file says, and what of it is here."""
        settings, spec = recognised.settings, recognised.base_model
        return FoundSettings(
            tool=settings.tool,
            prompt=settings.prompt,
            negative_prompt=settings.negative_prompt,
            model=settings.model,
            base_model=spec.id if spec else "",
            base_model_name=spec.name if spec else "",
            heeds_negative_prompt=bool(spec and spec.negative_prompt),
            loras=recognised.loras,
            lora_names=[f"{lora.name} × {lora.strength:g}" for lora in settings.loras],
            missing_loras=recognised.missing,
            seed=None if settings.seed is None else str(settings.seed),
            steps=settings.steps,
            guidance=settings.guidance,
            width=settings.width,
            height=settings.height,
        )


def _image_id(key: str | None) -> str:
    """Return the id of a picture of the gallery; '' for one from outside."""
    return PurePosixPath(key).stem if key and key.startswith("images/") else ""
