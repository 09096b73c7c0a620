"""How pictures are shown: as a tile, and each with all that is known of it."""

from app.views import PictureView, View, Views, lora_name
from backend.contract import ImageRecord
from backend.gallery import Page
from backend.storage import ImageKeys


class Tile(View):
    image_id: str
    thumb: str


class TilePage(View):
    pictures: list[Tile]
    after: str


class PictureDetail(PictureView):
    """Everything known of one picture."""

    run_id: str
    prompt: str
    negative_prompt: str
    base_model: str
    loras: list[str]
    steps: int
    guidance: float
    created_at: float


class GalleryViews(Views):
    """Makes the answers about pictures."""

    def tiles(self, owner: str, page: Page) -> TilePage:
        """Return a page of the gallery."""
        tiles = [
            Tile(image_id=image_id, thumb=self._media.url("outputs", ImageKeys(owner, image_id).thumb))
            for image_id in page.image_ids
        ]
        return TilePage(pictures=tiles, after=page.after)

    def picture(self, record: ImageRecord) -> PictureDetail:
        """Return everything known of one picture."""
        spec = self._base_models.get(record.base_model)
        return PictureDetail(
            **self._picture(record.key, record.thumb_key, record.prompt),
            width=record.width,
            height=record.height,
            seed=str(record.seed),
            run_id=record.run_id,
            prompt=record.prompt,
            negative_prompt=record.negative_prompt,
            base_model=spec.name if spec else record.base_model,
            loras=[lora_name(use) for use in record.loras],
            steps=record.steps,
            guidance=record.guidance,
            created_at=record.created_at,
        )
