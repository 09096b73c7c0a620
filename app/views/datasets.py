"""How datasets are shown: their list, one with its pictures, and what came of an upload."""

from app.views import View, Views
from backend.contract import BaseModelSpec, Dataset, DatasetImage
from backend.datasets.buckets import crop_for
from backend.datasets.checkup import Finding, check_up
from backend.datasets.datasets import Intake, Removal
from backend.errors import NotFound
from backend.keys import DatasetKeys


class DatasetRow(View):
    dataset_id: str
    name: str
    pictures: int


class DatasetRows(View):
    datasets: list[DatasetRow]


class CaptionedPicture(View):
    sha256: str
    name: str
    caption: str
    width: int
    height: int
    thumb: str


class CaptionView(View):
    caption: str


class DatasetView(View):
    dataset_id: str
    name: str
    pictures: list[CaptionedPicture]


class RefusedFile(View):
    name: str
    reason: str


class IntakeView(View):
    added: int
    merged: int
    captions: int
    refused: list[RefusedFile]


class RemovalView(View):
    pictures: int
    bytes: int
    runs: int


class CheckupView(View):
    findings: list[Finding]


class CropView(View):
    width: int
    height: int
    left: float
    top: float
    across: float
    down: float
    lost: float


class CropsView(View):
    """What each picture becomes, by content hash, at each of the resolutions in their order."""

    resolutions: list[int]
    crops: dict[str, list[CropView]]


class DatasetViews(Views):
    """Makes the answers about datasets."""

    def rows(self, datasets: list[Dataset]) -> DatasetRows:
        """Return the datasets to choose from."""
        return DatasetRows(
            datasets=[DatasetRow(dataset_id=each.id, name=each.name, pictures=len(each.images)) for each in datasets]
        )

    def dataset(self, dataset: Dataset) -> DatasetView:
        """Return a dataset for the caption grid."""
        keys = DatasetKeys(dataset.owner, dataset.id)
        return DatasetView(
            dataset_id=dataset.id,
            name=dataset.name,
            pictures=[self._captioned(keys, image) for image in dataset.images],
        )

    def picture(self, dataset: Dataset, sha256: str) -> str:
        """Return the address of a picture as it is trained on. Raises NotFound."""
        found = next((image for image in dataset.images if image.sha256 == sha256), None)
        if found is None:
            raise NotFound("This picture is not in the dataset any more.", "Reload the page.")
        return self._media.url("loras", found.key)

    def _captioned(self, keys: DatasetKeys, image: DatasetImage) -> CaptionedPicture:
        return CaptionedPicture(
            sha256=image.sha256,
            name=image.name,
            caption=image.caption,
            width=image.width,
            height=image.height,
            thumb=self._media.url("loras", keys.thumb(image.sha256)),
        )


def intake_view(intake: Intake) -> IntakeView:
    """Return what came of a file."""
    refused = [RefusedFile(name=each.name, reason=each.reason) for each in intake.refused]
    return IntakeView(added=intake.added, merged=intake.merged, captions=intake.captions, refused=refused)


def removal_view(removal: Removal) -> RemovalView:
    """Return what deleting removes."""
    return RemovalView(pictures=removal.pictures, bytes=removal.bytes, runs=removal.runs)


def checkup_view(dataset: Dataset, trigger_word: str, spec: BaseModelSpec) -> CheckupView:
    """Return what to look at before training."""
    return CheckupView(findings=check_up(dataset, trigger_word, spec))


def crops_view(dataset: Dataset, spec: BaseModelSpec) -> CropsView:
    """Return what each picture becomes at the base model's resolutions."""
    resolutions = sorted(spec.training.resolution)
    return CropsView(
        resolutions=resolutions,
        crops={
            image.sha256: [_crop(image, resolution, spec.size_multiple) for resolution in resolutions]
            for image in dataset.images
        },
    )


def _crop(image: DatasetImage, resolution: int, multiple: int) -> CropView:
    crop = crop_for(image.width, image.height, resolution, multiple)
    return CropView(**crop._asdict(), lost=round(crop.lost, 4))
