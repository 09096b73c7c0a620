"""Brings a run's pictures and captions to the local disk, from a dataset record or a ZIP archive, each checked."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from backend.archives import Entry, read_archive
from backend.contract import Dataset, DatasetImage, TrainingRequest
from backend.errors import Cancelled, DatasetRejected, NotFound
from backend.pictures import (
    Limits,
    Picture,
    Refusal,
    clean_caption,
    decode_caption,
    is_picture,
    prepare_picture,
    stem_of,
)
from backend.storage import Bucket
from workers.runtime import Run
from workers.training.download import Allowed, download
from workers.training.engines import TrainingPicture

THREADS = 8
DOWNLOAD_S = 1800.0
NAMED = 3  # refused files that an error lists
Log = Callable[[str], None]


def fetch_pictures(run: Run[TrainingRequest], stopped: threading.Event, log: Log) -> list[TrainingPicture]:
    """Return the request's pictures, saved in the run's folder, with captions that name the trigger word. Blocks.

    Raises DatasetRejected for anything that can't be trained on, NotFound for what isn't in storage, Cancelled when
    `stopped` is set meanwhile.
    """
    request, bucket, limits = run.request, run.storage.loras, Limits.of(run.settings)
    folder = run.folder / "dataset"
    folder.mkdir()
    if request.dataset_key and PurePosixPath(request.dataset_key).suffix.lower() != ".zip":
        record = _record(bucket, request.dataset_key, limits)
        pictures = _from_record(bucket, record, folder, limits, stopped)
    else:
        archive = run.folder / "dataset.zip"
        _fetch_archive(run, archive, limits, stopped)
        pictures = _from_archive(archive, _archive_name(request), folder, limits, stopped, log)
        archive.unlink()
    return [
        picture.model_copy(update={"caption": with_trigger(picture.caption, request.trigger_word)})
        for picture in pictures
    ]


def with_trigger(caption: str, trigger_word: str) -> str:
    """Return the caption with the trigger word in it: in the place of [trigger], else in front unless it is there."""
    caption = clean_caption(caption.replace("[trigger]", trigger_word))
    if trigger_word.lower() in caption.lower():
        return caption
    return f"{trigger_word}, {caption}" if caption else trigger_word


# ------------------------------------------------------------------------------------------------ from a record


def _record(bucket: Bucket, key: str, limits: Limits) -> Dataset:
    record = bucket.get_message(key, Dataset)
    if not record.images:
        raise DatasetRejected(f"The dataset '{record.name}' has no pictures.", "Add some and start again.")
    if len(record.images) > limits.images:
        raise DatasetRejected(
            f"The dataset '{record.name}' has {len(record.images):,} pictures; the most is {limits.images:,}.",
            "Split it.",
        )
    return record


def _from_record(
    bucket: Bucket, record: Dataset, folder: Path, limits: Limits, stopped: threading.Event
) -> list[TrainingPicture]:
    def fetch(numbered: tuple[int, DatasetImage]) -> TrainingPicture:
        index, image = numbered
        if stopped.is_set():
            raise Cancelled("Cancelled while the dataset was fetched.")
        try:
            data = bucket.get(image.key)
        except NotFound as error:
            raise NotFound(
                f"{image.name} of the dataset '{record.name}' is not in storage any more.",
                "Upload it again, or take it out of the dataset.",
            ) from error
        return _save(prepare_picture(data, image.name, limits), image.caption, folder, index)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="dataset") as threads:
        try:
            return list(threads.map(fetch, enumerate(record.images)))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


# ------------------------------------------------------------------------------------------------ from an archive


def _archive_name(request: TrainingRequest) -> str:
    place = request.dataset_key or (request.dataset_url or "").split("?")[0]
    return PurePosixPath(place).name or "The archive"


def _fetch_archive(run: Run[TrainingRequest], archive: Path, limits: Limits, stopped: threading.Event) -> None:
    request = run.request
    if request.dataset_url:
        download(
            request.dataset_url,
            archive,
            max_bytes=limits.total_bytes,
            timeout_s=DOWNLOAD_S,
            allowed=Allowed(run.storage.endpoint, run.settings.atelier_dataset_hosts),
            stopped=stopped,
        )
    elif request.dataset_key:
        size = run.storage.loras.head(request.dataset_key).bytes
        if size > limits.total_bytes:
            raise DatasetRejected(f"{_archive_name(request)} is {size / 2**20:,.0f} MB.", "Split the dataset.")
        with archive.open("wb") as file:
            for piece in run.storage.loras.stream(request.dataset_key):
                if stopped.is_set():
                    raise Cancelled("Cancelled while the dataset was downloaded.")
                file.write(piece)


def _from_archive(
    archive: Path, name: str, folder: Path, limits: Limits, stopped: threading.Event, log: Log
) -> list[TrainingPicture]:
    found: dict[str, TrainingPicture] = {}  # by content
    stems: dict[str, str] = {}  # content → the stem its caption goes by
    captions: dict[str, str] = {}
    refused: list[Refusal] = []
    with archive.open("rb") as file:
        for entry in _entries(file, name, limits, stopped):
            if isinstance(entry, Refusal):
                refused.append(entry)
            elif not is_picture(entry.name):
                captions[stem_of(entry.name)] = decode_caption(entry.data)
            elif picture := _prepared(entry, limits, refused):
                if picture.sha256 not in found and len(found) >= limits.images:
                    raise DatasetRejected(f"{name} has more than {limits.images:,} pictures.", "Split it.")
                stems.setdefault(picture.sha256, stem_of(entry.name))
                if picture.sha256 not in found:
                    found[picture.sha256] = _save(picture, "", folder, len(found))
    for refusal in refused:
        log(f"left out {refusal.name}: {refusal.reason}")
    _check_refused(refused, bool(found), name)
    return [
        picture.model_copy(update={"caption": captions.get(stems[sha256], "")}) for sha256, picture in found.items()
    ]


def _entries(file: BinaryIO, name: str, limits: Limits, stopped: threading.Event) -> Iterator[Entry | Refusal]:
    for entry in read_archive(file, name, limits):
        if stopped.is_set():
            raise Cancelled("Cancelled while the dataset was unpacked.")
        yield entry


def _prepared(entry: Entry, limits: Limits, refused: list[Refusal]) -> Picture | None:
    try:
        return prepare_picture(entry.data, entry.name, limits)
    except DatasetRejected as error:
        refused.append(Refusal(entry.name, str(error)))
        return None


def _check_refused(refused: list[Refusal], any_left: bool, name: str) -> None:
    """Raise DatasetRejected when a picture was refused: training without it is not what was asked for."""
    pictures = [refusal for refusal in refused if is_picture(refusal.name)]
    if not pictures and any_left:
        return
    listed = " ".join(_sentence(refusal) for refusal in (pictures or refused)[:NAMED])
    more = f" And {len(pictures) - NAMED} more." if len(pictures) > NAMED else ""
    raise DatasetRejected(f"{name} can't be trained on. {listed}{more}", "Replace or remove them, then start again.")


def _sentence(refusal: Refusal) -> str:
    # A reason of ours is a sentence that names the file; one of the archive reader's only says why.
    return refusal.reason if refusal.name in refusal.reason else f"{refusal.name}: {refusal.reason}."


def _save(picture: Picture, caption: str, folder: Path, index: int) -> TrainingPicture:
    path = folder / f"{index:04d}{picture.suffix}"
    path.write_bytes(picture.data)
    return TrainingPicture(path=path, width=picture.width, height=picture.height, caption=caption)
