"""How datasets are shown, in the caption grid."""

from app.views import Views
from backend.contract import Dataset
from backend.storage import DatasetKeys


class DatasetViews(Views):
    """Makes the answers about datasets."""

    def dataset(self, dataset: Dataset) -> dict[str, object]:
        """Return a dataset for the caption grid."""
        keys = DatasetKeys(dataset.owner, dataset.id)
        return {
            "dataset_id": dataset.id,
            "name": dataset.name,
            "pictures": [
                {
                    "sha256": image.sha256,
                    "name": image.name,
                    "caption": image.caption,
                    "width": image.width,
                    "height": image.height,
                    "thumb": self._media.url("loras", keys.thumb(image.sha256)),
                }
                for image in dataset.images
            ],
        }
