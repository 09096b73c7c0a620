"""The gallery: every picture ever made, newest first. What it holds is in storage; an index of it answers searches."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from backend.contract import ImageId, ImageRecord, file_stem
from backend.errors import InvalidRequest, NotFound
from backend.gallery.index import GalleryIndex, Row, Tally, Wanted
from backend.gallery.png_settings import texts_in
from backend.gallery.sync import GallerySync
from backend.keys import ImageKeys
from backend.loras.lineage import Origin, origin_of
from backend.media import is_loopback
from backend.settings import Settings
from backend.storage import Storage, at_once
from backend.zip_stream import zip_of

PAGE = 100  # pictures
MOST_AT_ONCE = 5000  # pictures to download, delete or mark
# A page waits this long for what changed in storage a moment ago; the index itself answers in milliseconds.
_WAIT_S, _WAIT_FOR_FIRST_S = 0.2, 1.5


class Page(NamedTuple):
    """Some pictures, and where the next page begins ('' at the end)."""

    rows: list[Row]
    after: str
    whole: bool  # False while the index is still being made, and pictures are missing
    trouble: str = ""  # why this may be out of date, in words


class Summary(NamedTuple):
    """How many pictures are wanted, of how many, and what they were made with."""

    wanted: int
    tally: Tally


class Gallery:
    """Searches, opens, marks and deletes pictures. A picture is there once its record is."""

    def __init__(self, storage: Storage, index_path: Path) -> None:
        self._loras = storage.loras
        self._bucket = storage.outputs
        self._index = GalleryIndex(index_path)
        self._sync = GallerySync(storage.outputs, self._index)

    def close(self) -> None:
        """Stop looking into storage."""
        self._sync.close()

    def page(self, owner: str, wanted: Wanted = Wanted(), after: str = "", limit: int = PAGE) -> Page:  # noqa: B008
        """Return the wanted pictures behind the id `after`, newest first."""
        whole, trouble = self._index.is_whole(owner), ""
        if not after or not whole:
            # That there is nothing is worth a second look: the first pictures may have been made just now.
            is_known = whole and bool(self._index.page(owner, wanted, after, 1))
            trouble = self._sync.freshen(owner, _WAIT_S if is_known else _WAIT_FOR_FIRST_S)
        rows = self._index.page(owner, wanted, after, limit)
        whole = whole or self._index.is_whole(owner)
        return Page(rows, rows[-1].image_id if len(rows) == limit else "", whole, trouble)

    def summary(self, owner: str, wanted: Wanted) -> Summary:
        """Return how many pictures are wanted, and what there is to choose from."""
        return Summary(self._index.count(owner, wanted), self._index.tally(owner))

    def bring_up_to_date(self, owner: str) -> None:
        """Make the index what storage says. It does so by itself, when somebody looks; this waits for it."""
        self._sync.look_through(owner)

    def open(self, owner: str, image_id: ImageId) -> ImageRecord:
        """Return everything needed to make a picture again. Raises NotFound."""
        if record := self._bucket.find_message(ImageKeys(owner, image_id).record, ImageRecord):
            return record
        raise NotFound("This picture no longer exists.", "It may have been deleted elsewhere.")

    def is_favourite(self, owner: str, image_id: ImageId) -> bool:
        """Return whether somebody marked the picture."""
        return self._bucket.exists(ImageKeys(owner, image_id).favourite)

    def origins(self, record: ImageRecord) -> list[Origin]:
        """Return where each LoRA of a picture comes from."""
        return [origin_of(self._loras, record.owner, use) for use in record.loras]

    def workflow(self, owner: str, image_id: ImageId) -> tuple[str, bytes]:
        """Return a file name, and the ComfyUI graph that made the picture. Raises NotFound when there was none."""
        record = self.open(owner, image_id)
        if PurePosixPath(record.key).suffix != ".png":
            raise NotFound("Only PNG files keep their ComfyUI workflow.", "Choose PNG when you generate.")
        with tempfile.TemporaryDirectory(prefix="atelier-picture-") as folder:
            path = Path(folder) / "picture.png"
            self._bucket.download(record.key, path)
            graph = texts_in(path).get("prompt", "")
        if not graph:
            raise NotFound("This picture was made without ComfyUI, so it has no workflow.")
        return f"{Path(_file_name(record)).stem}.json", json.dumps(json.loads(graph), indent=2).encode()

    def set_favourite(self, owner: str, image_ids: list[ImageId], favourite: bool) -> None:
        """Mark pictures as favourites, or no longer. The mark is an object of its own: every app sees it."""
        keys = [ImageKeys(owner, image_id) for image_id in self._there(owner, image_ids)]
        if favourite:
            at_once(lambda key: self._bucket.put(key, b"{}"), [each.favourite for each in keys])
        else:
            self._bucket.delete([each.favourite for each in keys])
        self._index.mark(owner, image_ids, favourite)

    def delete(self, owner: str, image_ids: list[ImageId]) -> None:
        """Delete pictures for good: the records first, so that none is shown half-deleted."""
        keys = [ImageKeys(owner, image_id) for image_id in self._there(owner, image_ids)]
        if not keys:
            return
        self._bucket.delete([each.record for each in keys])
        self._sync.note_removal(owner, image_ids)
        self._bucket.delete([key for each in keys for key in (*each.everything, each.favourite)])

    def _there(self, owner: str, image_ids: list[ImageId]) -> list[ImageId]:
        """Return those pictures that there are: what is made up leaves no mark and no note in storage."""
        asked = _bounded(image_ids)
        known = self._index.ids(owner, behind=min(asked)[:-1], up_to=max(asked)) if asked else set()
        # The index of another app may be ahead of ours.
        unknown = [each for each in asked if each not in known]
        found = at_once(lambda image_id: self._bucket.exists(ImageKeys(owner, image_id).record), unknown)
        return [each for each in asked if each in known] + [
            each for each, is_there in zip(unknown, found, strict=True) if is_there
        ]

    def archive(self, owner: str, image_ids: list[ImageId]) -> Iterator[bytes]:
        """Yield a ZIP of pictures as it is made, one picture in memory at a time; those that are gone are left out."""
        return zip_of(self._files(owner, _bounded(image_ids)))

    def _files(self, owner: str, image_ids: list[ImageId]) -> Iterator[tuple[str, bytes]]:
        for image_id in image_ids:
            try:
                record = self.open(owner, image_id)
                yield _file_name(record), self._bucket.get(record.key)
            except NotFound:
                continue


def index_path(settings: Settings) -> Path:
    """Return where the index of this storage lies: in the studio's home, else somewhere that goes with the process."""
    folder = settings.atelier_home / "cache"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="atelier-cache-"))
    # The local machine's storage belongs to its home, and answers at another port each time.
    place = "" if is_loopback(settings.storage_endpoint) else settings.storage_endpoint
    mark = hashlib.sha256(f"{place} {settings.r2_output_bucket}".encode()).hexdigest()[:12]
    return folder / f"gallery-{mark}.db"


def _bounded(image_ids: list[ImageId]) -> list[ImageId]:
    if len(image_ids) > MOST_AT_ONCE:
        raise InvalidRequest(f"{len(image_ids):,} pictures are too many at once.", f"Choose up to {MOST_AT_ONCE:,}.")
    return image_ids


def _file_name(record: ImageRecord) -> str:
    """Return what a picture is called outside: the beginning of its prompt, and what makes the name its own."""
    return f"{file_stem(record.prompt)[:48].strip('-')}-{record.id[-10:]}{PurePosixPath(record.key).suffix}"
