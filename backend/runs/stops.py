"""Why the studio itself stopped a run, kept beside it: its worker only knows that it was cancelled."""

from backend.contract import JobFailure, Message
from backend.keys import RunKeys
from backend.storage import Bucket


class StopNote(Message):
    """The studio's words for an attempt: `stop.json`."""

    attempt: int
    message: str
    hint: str


def note_stop(bucket: Bucket, keys: RunKeys, note: StopNote) -> None:
    """Keep the reason, before the run is cancelled."""
    bucket.put_message(keys.stop, note)


def with_reason(bucket: Bucket, keys: RunKeys, cancelled: JobFailure) -> JobFailure:
    """Return how a run was cancelled, in the studio's words if it was the studio that did so."""
    note = bucket.find_message(keys.stop, StopNote)
    if note is None or note.attempt != cancelled.attempt:
        return cancelled
    return cancelled.model_copy(update={"message": note.message, "hint": note.hint})
