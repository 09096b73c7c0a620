"""The picture that another one starts from: fetched from storage, checked, and brought to the size that is drawn."""

from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps

from backend.errors import DatasetRejected, InvalidRequest, NotFound
from backend.pictures import Limits, prepare_and_decode
from backend.storage import Bucket


def fetch_init_image(bucket: Bucket, key: str, size: tuple[int, int], limits: Limits, target: Path) -> Path:
    """Write the picture at `key` to `target`, upright, scaled and cropped to `size` in pixels. Blocks.

    Raises NotFound, and InvalidRequest for what is too large or no picture.
    """
    name = PurePosixPath(key).name
    try:
        if (count := bucket.head(key).bytes) > limits.file_bytes:
            raise InvalidRequest(
                f"{name} has {count:,} bytes; a picture to start from has {limits.file_bytes:,} at most.",
                "Choose a smaller one.",
            )
        data = bucket.get(key)
    except NotFound as error:
        raise NotFound(f"There is no picture at '{key}'.", "Choose one from the gallery.") from error
    try:
        _, image = prepare_and_decode(data, name, limits)
    except DatasetRejected as error:
        raise InvalidRequest(error.message, error.hint or "Choose another picture to start from.") from error
    ImageOps.fit(image, size, Image.Resampling.LANCZOS).save(target, "PNG")
    return target
