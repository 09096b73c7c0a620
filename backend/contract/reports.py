"""What a worker says of a run, while it goes on and at its end; and which job carries it."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from backend.contract.names import Message, RunId, Seed, Sha256, StorageKey

# In the order a run goes through them; sampling and saving come again and again.
Phase = Literal[
    "queued", "starting", "fetching data", "loading model", "caching", "training", "sampling", "saving",
    "generating", "uploading",
]  # fmt: skip
WAITING: frozenset[Phase] = frozenset({"queued"})  # not paid for, and no fault of the settings


class PhaseTime(Message):
    """How long a run has spent in one phase; a phase that comes again adds up."""

    phase: Phase
    seconds: float = Field(ge=0)


def paid_seconds(phases: Iterable[PhaseTime]) -> float:
    """Return how long a run was on a GPU; waiting for one costs nothing."""
    return sum(each.seconds for each in phases if each.phase not in WAITING)


class Checkpoint(Message):
    """A LoRA file saved on the way; it can be prompted at once."""

    step: int = Field(ge=0)
    key: StorageKey
    sha256: Sha256
    bytes: int


class Sample(Message):
    """A picture made while training, from the same seed at every step."""

    step: int = Field(ge=0)
    prompt: str
    key: StorageKey


class Progress(Message):
    """What a worker last said about a run: `progress.json`, at most once a second."""

    run_id: RunId
    attempt: int
    seq: int  # counts up; an older one that arrives late is dropped
    updated_at: float  # seconds since 1970
    phase: Phase
    phases: list[PhaseTime]
    step: int = 0
    steps: int = 0
    loss: float | None = None  # smoothed
    learning_rate: float | None = None
    seconds_per_step: float | None = None
    seconds_left: float | None = None
    message: str = ""
    preview_key: StorageKey | None = None  # the picture so far; its content changes under the same key
    preview_index: int = 0  # which of the run's pictures that is
    takes_wishes: bool = False  # whether it saves and samples in between when somebody asks
    job_id: str = ""  # RunPod's name of the job, which the app doesn't know where the answer to its /run was lost
    checkpoints: list[Checkpoint] = []
    samples: list[Sample] = []


class Metrics(Message):
    """A stretch of the loss curve: `metrics/<first step>.json`; the three lists have equal length."""

    steps: list[int]
    loss: list[float]
    learning_rate: list[float]


class TrainingResult(Message):
    """A finished training: `result.json`, written last. An attempt with more steps goes on from it and replaces it."""

    run_id: RunId
    attempt: int = 1  # the one that finished
    lora_key: StorageKey
    sha256: Sha256
    bytes: int
    steps: int
    seconds: float  # of work, all attempts together
    phases: list[PhaseTime]
    checkpoints: list[Checkpoint]
    samples: list[Sample]


class GeneratedImage(Message):
    """One picture in storage. `url` opens it for a while without keys."""

    key: StorageKey
    url: str
    thumb_key: StorageKey
    width: int
    height: int
    seed: Seed


class GenerationResult(Message):
    """A finished generation: `result.json`, written last."""

    run_id: RunId
    images: list[GeneratedImage]
    seconds: float
    phases: list[PhaseTime]
    notes: list[str] = []  # what was done otherwise than asked, such as a rounded size


FailureKind = Literal[
    "invalid request", "not found", "cancelled", "out of memory", "engine", "weights", "service", "internal"
]


class JobFailure(Message):
    """A run that ended without a result: `failure.json`, written last."""

    run_id: RunId
    attempt: int
    kind: FailureKind
    message: str
    hint: str = ""
    step: int = 0
    phases: list[PhaseTime] = []
    checkpoints: list[Checkpoint] = []  # what was kept
    samples: list[Sample] = []


class Submission(Message):
    """Which RunPod job carries a run, and what was asked of it since: `job.json`, written by the app alone."""

    run_id: RunId
    attempt: int
    job_id: str
    submitted_at: float
    cancelled: bool = False  # somebody asked for its end
    # How often somebody asked for a checkpoint, or for samples, in between: the worker goes by the difference.
    saves: int = 0
    samplings: int = 0
