"""Which RunPod job carries a run, and what was asked of it since: `job.json`, written by the app alone."""

import time

from backend.contract import RunId, Submission
from backend.errors import NotFound, StorageError
from backend.keys import RunKeys
from backend.storage import Bucket

_ATTEMPTS = 8  # to change what another app changes, too
_PAUSE_S = 0.05


class Submissions:
    """Notes which job carries a run, and adds to that what a person asks for while it goes on."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def note(self, keys: RunKeys, attempt: int, job_id: str) -> None:
        """Store that a job carries an attempt. What was asked of an earlier one is forgotten with it."""
        submitted_at = round(time.time(), 3)
        run_id: RunId = keys.run_id
        message = Submission(run_id=run_id, attempt=attempt, job_id=job_id, submitted_at=submitted_at)
        self._bucket.put_message(keys.submission, message)

    def of(self, keys: RunKeys, attempt: int) -> Submission | None:
        """Return what is known of an attempt; None for one that was never handed over."""
        found = self._bucket.find_message(keys.submission, Submission)
        return found if found and found.attempt >= attempt else None

    def ask(
        self, keys: RunKeys, attempt: int, *, cancelled: bool = False, saves: int = 0, samplings: int = 0
    ) -> Submission | None:
        """Add to what is asked of an attempt; nothing when another one has taken its place."""
        for _ in range(_ATTEMPTS):
            try:
                now, tag = self._bucket.get_tagged(keys.submission, Submission)
            except NotFound:
                return None
            if now.attempt != attempt:
                return None
            asked = {
                "cancelled": now.cancelled or cancelled,
                "saves": now.saves + saves,
                "samplings": now.samplings + samplings,
            }
            changed = now.model_copy(update=asked)
            if changed == now or self._bucket.put(
                keys.submission, changed.model_dump_json().encode(), if_unchanged=tag
            ):
                return changed
            time.sleep(_PAUSE_S)
        raise StorageError("This run is being changed from elsewhere without a pause.", "Try again in a minute.")
