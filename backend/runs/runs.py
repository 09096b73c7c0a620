"""Runs: submitting a request, and what has become of it, whoever asks and however much has crashed in between."""

import logging
import time
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import PurePosixPath

from pydantic import ValidationError

from backend.contract import (
    GenerationRequest,
    Metrics,
    Request,
    RunId,
    RunKind,
    TrainingRequest,
    Wish,
    explain,
)
from backend.errors import InvalidRequest, NotFound
from backend.keys import RunKeys, is_of
from backend.runs.deadlines import LEAST_TIMEOUT_S, TIME_TO_LIVE_S, may_take
from backend.runs.memory import Memory
from backend.runs.one_look import OneLook
from backend.runs.outcome import SILENCE_S, Outcomes
from backend.runs.runpod_client import Endpoint
from backend.runs.state import RunState, kind_of
from backend.runs.stops import StopNote, note_stop, with_reason
from backend.runs.submissions import Submissions
from backend.storage import Storage
from backend.usage.ledger import Entry
from backend.usage.limits import UsageLimits

_LISTED = 50
_log = logging.getLogger(__name__)


class Runs:
    """Submits, watches and cancels runs."""

    def __init__(
        self,
        storage: Storage,
        endpoints: dict[RunKind, Endpoint],
        limits: UsageLimits | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._bucket = storage.loras
        self._limits = limits  # None: nobody counts
        self._endpoints = endpoints
        self._memory = memory or Memory()
        self._submissions = Submissions(storage.loras)
        self._outcomes = Outcomes(storage.loras, endpoints, self._submissions)
        self._listings = OneLook(self._newest)  # every page that is open asks every few seconds
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="runs")

    def submit(
        self, request: TrainingRequest | GenerationRequest, before_s: float = 0, *, in_place_of: str = ""
    ) -> RunId:
        """Store a request that has its run id, hand it to RunPod, and note the job. Returns the run id.

        `before_s` is for how long earlier attempts were at work, `in_place_of` the tag of the last one's request: where
        that has been replaced meanwhile, nothing is done. Raises LimitReached when somebody has used up theirs.
        """
        _refuse_what_is_not_theirs(request)
        keys, lasts_s = _keys_of(request), None
        if self._limits:
            request = self._limits.within_its_time(request)
            if before_s or self._limits.bounds(request.owner):
                self.settle()
            lasts_s = self._limits.admit(request, before_s).seconds
        stored = self._bucket.put(keys.request, request.model_dump_json().encode(), if_unchanged=in_place_of)
        self._memory.forget(keys)
        if not stored:
            return keys.run_id
        self._hand_over(request, lasts_s)
        return keys.run_id

    def check_together(self, requests: Sequence[GenerationRequest]) -> None:
        """Return when runs that are to be submitted one by one may all be. Raises LimitReached."""
        if self._limits:
            self._limits.check_together(requests)

    def retry(self, owner: str, run_id: RunId) -> None:
        """Submit a run that ended without a result again; a training goes on from its last checkpoint."""
        state = self.state(owner, run_id)
        if state.ended and state.status != "done":
            self._begin_anew(state, state.request.model_copy(update={"attempt": state.request.attempt + 1}))

    def extend(self, owner: str, run_id: RunId, steps: int) -> None:
        """Train a run that has ended on, `steps` steps further than it was meant to go."""
        state = self.state(owner, run_id)
        request = state.request
        if not state.ended or not isinstance(request, TrainingRequest):
            raise InvalidRequest("Only a training that has ended can be trained on.", "Wait for its end, or stop it.")
        if isinstance(request.base_model, str):
            raise InvalidRequest("This training didn't come from the studio.", "Start a new one.")
        further = request.settings_for(request.base_model).steps + steps
        wishes = request.model_dump() | {"steps": further, "attempt": request.attempt + 1}
        try:
            longer = TrainingRequest.model_validate(wishes)
        except ValidationError as error:
            raise InvalidRequest(explain(error)) from error
        self._begin_anew(state, longer)

    def delete(self, owner: str, run_id: RunId) -> None:
        """Delete a run that has ended: curve, samples, checkpoints and log. Its LoRA and its dataset stay."""
        keys = RunKeys(owner, run_id)
        if not self.state(owner, run_id).ended:
            raise InvalidRequest("This run is still going on.", "Stop it first.")
        self.settle()
        # What makes it a run goes first, so that half of one is never shown.
        self._bucket.delete([keys.request])
        self._bucket.delete([stored.key for stored in self._bucket.list_all(keys.prefix)])
        self._memory.forget(keys)

    def cancel(self, owner: str, run_id: RunId) -> None:
        """Ask for a run to be stopped; one that has ended is left alone."""
        state, keys = self.state(owner, run_id), RunKeys(owner, run_id)
        if state.ended:
            return
        attempt = state.request.attempt
        submission = self._submissions.of(keys, attempt)
        # Two, where RunPod's answer was lost and it was asked again; or one that only its worker has named.
        jobs = {submission.job_id if submission else "", state.job_at_work} - {""}
        for job_id in jobs:
            with suppress(NotFound):  # RunPod has forgotten it: there is nothing to stop
                self._endpoints[state.kind].cancel(job_id)
        if jobs and submission is None:
            self._submissions.note(keys, attempt, state.job_at_work)
        # Noted only now: what RunPod refused to cancel must not be shown as stopping.
        self._submissions.ask(keys, attempt, cancelled=True)

    def cancel_all(self, owner: str, run_ids: Sequence[RunId]) -> None:
        """Ask for runs to be stopped, a few at a time in this order. Raises what one of them raised, after all."""
        asked = [self._pool.submit(self.cancel, owner, run_id) for run_id in run_ids]
        wait(asked)
        for each in asked:
            each.result()

    def ask(self, owner: str, run_id: RunId, wish: Wish) -> None:
        """Ask a training that goes on for a checkpoint or for samples now. Raises InvalidRequest where none can be."""
        state = self.state(owner, run_id)
        if state.status != "running" or not (state.progress and state.progress.takes_wishes):
            raise InvalidRequest("This training can't do that just now.", "Its next checkpoint comes by itself.")
        self._submissions.ask(
            RunKeys(owner, run_id), state.request.attempt, saves=wish == "save", samplings=wish == "sample"
        )

    def stop(self, owner: str, run_id: RunId, message: str, hint: str) -> None:
        """Cancel a run that nobody asked to be cancelled, and say why in place of its worker."""
        note = StopNote(attempt=self.state(owner, run_id).request.attempt, message=message, hint=hint)
        note_stop(self._bucket, RunKeys(owner, run_id), note)
        self.cancel(owner, run_id)

    def settle(self) -> None:
        """Write into the ledger what runs cost that have ended since somebody last did."""
        if self._limits:
            list(self._pool.map(self._settle, self._limits.ledger.open_entries()))

    def state(self, owner: str, run_id: RunId) -> RunState:
        """Return what has become of a run. Raises NotFound for one that was never requested."""
        keys = RunKeys(owner, run_id)
        if ended := self._memory.end_of(keys):
            return ended
        remembered, looked_at = self._memory.of(keys), time.monotonic()
        going_on = remembered.request if remembered and not remembered.ended else None
        request = going_on or self._read_request(keys)
        if remembered and remembered.ended and remembered.request == request:
            state = remembered.ended
        else:
            state = self._find_out(keys, request)
        self._memory.keep(keys, state, looked_at)
        return state

    def _find_out(self, keys: RunKeys, request: TrainingRequest | GenerationRequest) -> RunState:
        state = self._outcomes.of(keys, request)
        if state.failure and state.status == "cancelled":
            return state.model_copy(update={"failure": with_reason(self._bucket, keys, state.failure)})
        return state

    def going_behind(self, state: RunState) -> list[RunState]:
        """Return the owner's runs of the same kind that are older than one and have not ended, newest first.

        Runs are begun in order: where all of a stretch of runs have ended, nothing older goes on.
        """
        owner, after = state.request.owner, state.run_id
        going: list[RunState] = []
        while run_ids := self._bucket.list_folders(
            run_prefix(owner, state.kind), after=f"runs/{owner}/{after}/~", limit=_LISTED
        ):
            states = self._pool.map(lambda run_id: self._state_if_any(owner, run_id), run_ids)
            still = [each for each in states if each and not each.ended]
            if not still:
                break
            going, after = going + still, run_ids[-1]
        return going

    def list(self, owner: str, kind: RunKind, limit: int = _LISTED) -> list[RunState]:
        """Return the owner's newest runs of one kind, newest first."""
        return [*self._listings((owner, kind, limit))]

    def states(self, owner: str, run_ids: Sequence[RunId]) -> Sequence[RunState | None]:
        """Return what has become of several runs; None for one that was never requested, or has been deleted."""
        return [*self._pool.map(lambda run_id: self._state_if_any(owner, run_id), run_ids)]

    def metrics(self, owner: str, run_id: RunId, *, after_step: int = -1) -> Metrics:
        """Return the loss curve so far, from a stretch that holds `after_step` on: what lies before is left unread."""
        keys = [stored.key for stored in self._bucket.list_all(f"{RunKeys(owner, run_id).prefix}metrics/")]
        firsts = [int(PurePosixPath(key).stem) for key in keys]
        unread = keys[max(0, bisect_right(firsts, after_step) - 1) :]
        stretches = [self._bucket.get_message(key, Metrics) for key in unread]
        return Metrics(
            steps=[step for stretch in stretches for step in stretch.steps],
            loss=[loss for stretch in stretches for loss in stretch.loss],
            learning_rate=[rate for stretch in stretches for rate in stretch.learning_rate],
        )

    def log(self, owner: str, run_id: RunId) -> str:
        """Return the tail of a run's log; empty before there is one."""
        try:
            return self._bucket.get(RunKeys(owner, run_id).log).decode(errors="replace")
        except NotFound:
            return ""

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(wait=False)
        for endpoint in self._endpoints.values():
            endpoint.close()

    def _begin_anew(self, state: RunState, request: TrainingRequest | GenerationRequest) -> None:
        """Submit the next attempt, once: it may be asked for in two windows, or through two apps, at a time."""
        keys = _keys_of(request)
        now, tag = self._bucket.get_tagged(keys.request, type(request))
        if now.attempt == state.request.attempt:
            self.submit(request, state.paid_seconds, in_place_of=tag)
        else:
            self._memory.forget(keys)

    def _hand_over(self, request: TrainingRequest | GenerationRequest, lasts_s: float | None) -> None:
        keys, kind = _keys_of(request), kind_of(request)
        may_take_s = may_take(request)
        if lasts_s is not None:
            may_take_s = max(LEAST_TIMEOUT_S, min(may_take_s, int(lasts_s)))
        job_id = self._endpoints[kind].run(request, execution_timeout_s=may_take_s, ttl_s=TIME_TO_LIVE_S[kind])
        self._submissions.note(keys, request.attempt, job_id)
        _log.info("run %s is handed over as job %s", keys.run_id, job_id)

    def _read_request(self, keys: RunKeys) -> TrainingRequest | GenerationRequest:
        request: TrainingRequest | GenerationRequest | None
        if keys.run_id.startswith("train"):
            request = self._bucket.find_message(keys.request, TrainingRequest)
        else:
            request = self._bucket.find_message(keys.request, GenerationRequest)
        if request:
            return request
        raise NotFound(f"There is no run {keys.run_id}.", "It may have been deleted, or belong to somebody else.")

    def _settle(self, entry: Entry) -> None:
        assert self._limits, "there is an entry"  # noqa: S101
        state = self._state_if_any(entry.owner, entry.run_id)
        if state is None:
            if time.time() - entry.opened_at > SILENCE_S:
                self._limits.ledger.withdraw(entry)  # its request was never stored
        elif state.ended or state.request.attempt > entry.attempt:
            pictures = len(state.generation.images) if state.generation else 0
            self._limits.ledger.settle(entry, state.paid_seconds, pictures)
            _log.info("run %s has ended: %s", entry.run_id, state.status)

    def _newest(self, wanted: tuple[str, RunKind, int]) -> tuple[RunState, ...]:
        owner, kind, limit = wanted
        run_ids = self._bucket.list_folders(run_prefix(owner, kind), limit=limit)
        states = self._pool.map(lambda run_id: self._state_if_any(owner, run_id), run_ids)
        return tuple(state for state in states if state)

    def _state_if_any(self, owner: str, run_id: RunId) -> RunState | None:
        try:
            return self.state(owner, run_id)
        except NotFound:
            return None  # made by a direct caller, or deleted while we looked


def run_prefix(owner: str, kind: RunKind) -> str:
    """Where the owner's runs of one kind lie, newest first."""
    return f"runs/{owner}/{kind}-"


def _refuse_what_is_not_theirs(request: TrainingRequest | GenerationRequest) -> None:
    """Workers may read everything, so whose things a request names is checked before one sees it."""
    if isinstance(request, GenerationRequest):
        for use in request.lora_uses:
            if not is_of(request.owner, use.key):
                raise NotFound(f"There is no LoRA of yours at '{use.key}'.", "Choose one from the list.")
        if request.init_image and not is_of(request.owner, request.init_image):
            raise NotFound(f"There is no picture of yours at '{request.init_image}'.", "Choose one from the gallery.")


def _keys_of(request: Request) -> RunKeys:
    assert request.run_id, "the app names every run before it submits it"  # noqa: S101
    return RunKeys(request.owner, request.run_id)
