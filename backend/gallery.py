"""The gallery: every picture ever made, newest first, straight from a listing of storage."""

from pathlib import PurePosixPath
from typing import NamedTuple

from backend.contract import ImageRecord
from backend.errors import NotFound
from backend.storage import ImageKeys, Storage, record_prefix

PAGE = 60  # pictures


class Page(NamedTuple):
    """Some pictures by id, and where the next page begins ('' at the end)."""

    image_ids: list[str]
    after: str


class Gallery:
    """Lists, opens and deletes pictures. A picture is there once its record is."""

    def __init__(self, storage: Storage) -> None:
        self._bucket = storage.outputs

    def page(self, owner: str, after: str = "", limit: int = PAGE) -> Page:
        """Return the pictures behind the id `after`, newest first. One LIST, whatever the gallery's size."""
        start = ImageKeys(owner, after).record if after else ""
        stored = self._bucket.list_page(record_prefix(owner), after=start, limit=limit)
        image_ids = [PurePosixPath(item.key).stem for item in stored]
        return Page(image_ids, image_ids[-1] if len(image_ids) == limit else "")

    def open(self, owner: str, image_id: str) -> ImageRecord:
        """Return everything known of one picture. Raises NotFound."""
        if record := self._bucket.find_message(ImageKeys(owner, image_id).record, ImageRecord):
            return record
        raise NotFound("This picture is not there any more.", "It may have been deleted elsewhere.")

    def delete(self, owner: str, image_ids: list[str]) -> None:
        """Delete pictures for good: the records first, so that none is shown half-deleted."""
        keys = [ImageKeys(owner, image_id) for image_id in image_ids]
        self._bucket.delete([each.record for each in keys])
        self._bucket.delete([key for each in keys for key in each.everything])
