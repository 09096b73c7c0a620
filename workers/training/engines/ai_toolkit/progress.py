"""What ai-toolkit says while it trains: its job's row in a database of ours, its loss log, and the lines it writes."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from backend.contract import Phase, Wish

JOB_ID = "training"  # the one row; ai-toolkit is told through AITK_JOB_ID
LOCKED_S = 5.0  # how long a read or a write waits while ai-toolkit writes

# Columns as ai-toolkit's own interface has them: it reads stop, return_to_queue, save_now and sample_now after every
# step, and writes status, info, step and speed_string.
_SCHEMA = """
CREATE TABLE Job (
    id TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, gpu_ids TEXT NOT NULL, job_config TEXT NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    status TEXT NOT NULL DEFAULT 'queued', stop BOOLEAN NOT NULL DEFAULT 0, return_to_queue BOOLEAN NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0, total_steps INTEGER, info TEXT NOT NULL DEFAULT '',
    speed_string TEXT NOT NULL DEFAULT '', queue_position INTEGER NOT NULL DEFAULT 0, pid INTEGER,
    job_type TEXT NOT NULL DEFAULT 'train', job_ref TEXT,
    save_now BOOLEAN NOT NULL DEFAULT 0, sample_now BOOLEAN NOT NULL DEFAULT 0
)
"""


_WISHES: dict[Wish, str] = {
    "save": "UPDATE Job SET save_now = 1 WHERE id = ?",
    "sample": "UPDATE Job SET sample_now = 1 WHERE id = ?",
}


class JobRow(NamedTuple):
    """The job as ai-toolkit last described it."""

    status: str
    info: str
    step: int  # steps done


class JobDatabase:
    """The database with the one job, made by us before ai-toolkit starts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self, name: str) -> None:
        """Make it. Blocks."""
        with closing(self._connect()) as connection, connection:
            connection.execute(_SCHEMA)
            connection.execute(
                "INSERT INTO Job (id, name, gpu_ids, job_config) VALUES (?, ?, '0', '{}')", (JOB_ID, name)
            )

    def read(self) -> JobRow:
        """Return the job's row. Blocks."""
        with closing(self._connect()) as connection:
            row = connection.execute("SELECT status, info, step FROM Job WHERE id = ?", (JOB_ID,)).fetchone()
        return JobRow(str(row[0]), str(row[1]), int(row[2]))

    def ask_for(self, wish: Wish) -> None:
        """Ask ai-toolkit to save or to sample after the step it is at. Blocks."""
        with closing(self._connect()) as connection, connection:
            connection.execute(_WISHES[wish], (JOB_ID,))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=LOCKED_S)


class LoggedStep(NamedTuple):
    """One step of the loss log."""

    step: int  # steps done after it
    loss: float
    learning_rate: float
    at: float  # seconds since 1970


class LossLog:
    """Reads ai-toolkit's loss log onwards from where it last was. The first step of a run is never in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = -1

    def read_new(self) -> list[LoggedStep]:
        """Return the steps logged since the last call. Blocks."""
        if not self._path.exists():
            return []
        try:
            with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=LOCKED_S)) as connection:
                rows = connection.execute(_NEW_STEPS, (self._last,)).fetchall()
        except sqlite3.OperationalError:  # made this moment and still without tables
            return []
        if rows:
            self._last = rows[-1][0]
        # A step's number there is that of the step being done, so one more is done afterwards.
        return [LoggedStep(step + 1, loss, rate, at) for step, loss, rate, at in rows]


_NEW_STEPS = """
SELECT steps.step, loss.value_real, rate.value_real, steps.wall_time
FROM steps
JOIN metrics AS loss ON loss.step = steps.step AND loss.key = 'loss/loss'
JOIN metrics AS rate ON rate.step = steps.step AND rate.key = 'learning_rate'
WHERE steps.step > ? AND loss.value_real IS NOT NULL AND rate.value_real IS NOT NULL
ORDER BY steps.step
"""


class BarLine(NamedTuple):
    """What its progress bar says: all there is where the loss log is missing."""

    counted: int  # steps
    loss: float  # of the step it counts next, or of the one it has just counted
    learning_rate: float
    seconds_per_step: float


_BAR = re.compile(r"\|\s*(?P<step>\d+)/\d+ \[")
_RATE = re.compile(r"(?P<rate>[\d.]+)(?P<unit>it/s|s/it)")
_VALUES = re.compile(r"lr: (?P<lr>[-+.\deE]+) loss: (?P<loss>[-+.\deE]+)")


def is_bar(line: str) -> bool:
    """Return whether a line is a progress bar of any kind."""
    return bool(_BAR.search(line))


def read_bar(line: str) -> BarLine | None:
    """Return what the training's progress bar says, or None for any other line."""
    bar, values, rate = _BAR.search(line), _VALUES.search(line), _RATE.search(line)
    if not bar or not values:
        return None
    try:
        per = float(rate["rate"]) if rate else 0.0
        seconds = (1 / per if rate and rate["unit"] == "it/s" else per) if per else 0.0
        return BarLine(int(bar["step"]), float(values["loss"]), float(values["lr"]), seconds)
    except ValueError:  # a line torn by another writer
        return None


def phase_of(info: str) -> Phase:
    """Return the phase that ai-toolkit's own words describe."""
    if info.startswith("Generating images"):
        return "sampling"
    return _PHASES.get(info, "loading model")  # every other sentence is a part of the model being loaded


_PHASES: dict[str, Phase] = {
    "": "starting",
    "Starting": "starting",
    "Loading dataset": "caching",
    "Training": "training",
    "Training completed": "training",
    "Saving model": "saving",
}

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # what moves a terminal's cursor between two bars
# Not from the start of a line: a progress bar on standard error may stand before them without a line feed.
SAVED_LORA = re.compile(r"Saved checkpoint to (?P<path>.+\.safetensors)$")
SAVED_OPTIMIZER = re.compile(r"Saved optimizer to |Could not save optimizer")
LOSS_IS_NAN = re.compile(r"loss is nan")
SKIPPED_BATCH = re.compile(r"OOM during training step, skipping batch")
OUT_OF_MEMORY = re.compile(r"out of memory|OOM during training step 3 times in a row", re.IGNORECASE)
SAMPLE_NAME = re.compile(r"__(?P<step>\d+)_(?P<index>\d+)\.webp$")
