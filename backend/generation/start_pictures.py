"""Pictures that others are started from: one of the gallery's, or one from outside, made safe and kept here."""

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from backend.contract import StorageKey
from backend.errors import InvalidRequest, NotFound
from backend.keys import is_of, start_picture_key
from backend.pictures import Limits, prepare_and_decode
from backend.storage import Bucket
from backend.usage.limits import UsageLimits

MOST_BYTES = 40 * 2**20  # of the file as it comes
MOST_SIDE = 2048  # pixels; nothing is drawn larger
_KINDS = ("images/", "starts/")


class StartPicture(NamedTuple):
    """A picture in the output bucket that a generation may name as its `init_image`."""

    key: StorageKey
    width: int  # pixels
    height: int


class StartPictures:
    """Takes pictures in. Their pixels are encoded anew, so nothing else of a stranger's file is kept."""

    def __init__(self, bucket: Bucket, limits: Limits, usage: UsageLimits | None = None) -> None:
        self._bucket = bucket
        self._usage = usage
        self._limits = limits._replace(file_bytes=MOST_BYTES)

    def take_in(self, owner: str, path: Path, name: str) -> StartPicture:
        """Keep the picture in a file, upright and at most MOST_SIDE wide and high. Raises InvalidRequest with a reason,
        and LimitReached when there is no room.

        It stays as long as the owner's pictures do: their records name it.
        """
        _, picture = prepare_and_decode(path.read_bytes(), name, self._limits)
        picture.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.LANCZOS)
        encoded = io.BytesIO()
        picture.save(encoded, "JPEG", quality=95, subsampling=0)
        data = encoded.getvalue()
        key = start_picture_key(owner, hashlib.sha256(data).hexdigest())
        if self._usage:
            self._usage.check_storage(owner, len(data))
        if self._bucket.put(key, data, if_absent=True) and self._usage:
            self._usage.note_stored(owner, len(data))
        return StartPicture(key, *picture.size)

    def check(self, owner: str, key: StorageKey) -> None:
        """Return when the owner may start from the picture at `key`. Raises InvalidRequest or NotFound."""
        if not (key.startswith(_KINDS) and is_of(owner, key)):
            raise InvalidRequest("This picture isn't yours.", "Choose one from the gallery, or a file.")
        if not self._bucket.exists(key):
            raise NotFound("The picture it started from no longer exists.", "Choose another one.")
