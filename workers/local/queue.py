"""Owns the jobs: every one that was sent, its state and its result, in one SQLite file that outlives the studio.

Which worker may take a job, and who is told of a change, is decided elsewhere; nothing here waits.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workers.local.messages import to_json

Status = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]

MOST_REQUEUES = 2
KEEP_ASYNC_S = 30 * 60  # RunPod keeps the result of /run for 30 minutes and of /runsync for one
KEEP_SYNC_S = 60

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of the queue
    id TEXT NOT NULL UNIQUE,
    endpoint TEXT NOT NULL,
    status TEXT NOT NULL,
    input TEXT NOT NULL,                       -- JSON, as are output and chunks
    keep_s REAL NOT NULL,
    execution_timeout_s REAL NOT NULL,
    expires_at REAL NOT NULL,                  -- seconds since 1970, as are the other times
    submitted_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    worker TEXT,                               -- the last one that took it
    requeues INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    output TEXT,
    output_seq INTEGER,                        -- of the newest progress
    error TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (status, endpoint, number);
CREATE TABLE IF NOT EXISTS chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    output TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS chunks_by_job ON chunks (job, number);
"""


@dataclass(frozen=True)
class Job:
    """One job as it is now. Times are seconds since 1970."""

    id: str
    endpoint: str
    status: Status
    input: str  # JSON
    worker: str | None
    submitted_at: float
    started_at: float | None
    finished_at: float | None
    execution_timeout_s: float
    output: str | None  # JSON
    error: str | None

    @property
    def ended(self) -> bool:
        return self.status not in ("IN_QUEUE", "IN_PROGRESS")

    def describe(self) -> dict[str, Any]:
        """Return what RunPod's /status says of it."""
        said: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.status == "IN_QUEUE":
            return said
        if self.started_at is not None:
            said["delayTime"] = round((self.started_at - self.submitted_at) * 1000)
            said["workerId"] = self.worker
        if self.started_at is not None and self.finished_at is not None:
            said["executionTime"] = round((self.finished_at - self.started_at) * 1000)
        if self.output is not None:
            said["output"] = json.loads(self.output)
        if self.error is not None:
            said["error"] = self.error
        return said


_COLUMNS = ", ".join(Job.__dataclass_fields__)


class JobQueue:
    """The jobs of every endpoint. `changed` is called with each job whose status has changed."""

    def __init__(self, path: Path, changed: Callable[[Job], None], clock: Callable[[], float] = time.time) -> None:
        self._changed = changed
        self._clock = clock
        self._database = sqlite3.connect(path, isolation_level=None)
        # WAL without a sync at each commit: nothing is lost with our process, only with the computer's power.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "journal_size_limit=67108864"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        self._database.close()

    def submit(
        self, endpoint: str, job_input: Any, *, execution_timeout_s: float, ttl_s: float, synchronous: bool = False
    ) -> Job:
        """Queue a job. It times out `execution_timeout_s` after its start and `ttl_s` after now."""
        now = self._clock()
        job_id = f"{'sync-' if synchronous else ''}{uuid.uuid4()}-local"
        keep_s = KEEP_SYNC_S if synchronous else KEEP_ASYNC_S
        return self._change(
            "INSERT INTO jobs (id, endpoint, status, input, keep_s, execution_timeout_s, expires_at, submitted_at) "
            "VALUES (?, ?, 'IN_QUEUE', ?, ?, ?, ?, ?)",
            (job_id, endpoint, to_json(job_input), keep_s, execution_timeout_s, now + ttl_s, now),
        )[0]

    def find(self, endpoint: str, job_id: str) -> Job | None:
        return next(iter(self._select("id = ? AND endpoint = ?", (job_id, endpoint))), None)

    def take(self, endpoint: str, worker: str, count: int = 1) -> list[Job]:
        """Hand the oldest queued jobs to a worker."""
        waiting = self._database.execute(
            "SELECT id FROM jobs WHERE status = 'IN_QUEUE' AND endpoint = ? ORDER BY number LIMIT ?", (endpoint, count)
        ).fetchall()
        taken = []
        for (job_id,) in waiting:
            taken += self._change(
                "UPDATE jobs SET status = 'IN_PROGRESS', worker = ?, started_at = ? WHERE id = ?",
                (worker, self._clock(), job_id),
            )
        return taken

    def record_progress(self, job_id: str, worker: str, output: Any) -> None:
        """Show this as the output of a running job, unless a newer one (by its `seq`) came first."""
        seq = output.get("seq") if isinstance(output, dict) else None
        seq = seq if isinstance(seq, int) else None
        self._database.execute(
            "UPDATE jobs SET output = ?1, output_seq = coalesce(?2, output_seq) WHERE id = ?3 AND worker = ?4 "
            "AND status = 'IN_PROGRESS' AND (?2 IS NULL OR output_seq IS NULL OR output_seq <= ?2)",
            (to_json(output), seq, job_id, worker),
        )

    def complete(self, job_id: str, worker: str, output: Any) -> bool:
        """Record a worker's result. False if the job is no longer this worker's to finish.

        A result still counts when its job was thought lost and waits in the queue again.
        """
        return bool(
            self._change(
                "UPDATE jobs SET status = 'COMPLETED', output = ?, finished_at = ? "
                "WHERE id = ? AND worker = ? AND status IN ('IN_PROGRESS', 'IN_QUEUE')",
                (to_json(output), self._clock(), job_id, worker),
            )
        )

    def fail(self, job_id: str, error: str, output: Any = None, worker: str | None = None) -> bool:
        """End a job as FAILED: a running one of this worker's, or without a worker, one that waits."""
        return bool(
            self._change(
                "UPDATE jobs SET status = 'FAILED', error = ?1, output = ?2, finished_at = ?3 WHERE id = ?4 "
                "AND CASE WHEN ?5 IS NULL THEN status = 'IN_QUEUE' ELSE worker = ?5 AND status = 'IN_PROGRESS' END",
                (error, None if output is None else to_json(output), self._clock(), job_id, worker),
            )
        )

    def cancel(self, endpoint: str, job_id: str) -> None:
        """End a job as CANCELLED; one that has ended stays as it is."""
        self._change(
            "UPDATE jobs SET status = 'CANCELLED', finished_at = ? "
            "WHERE id = ? AND endpoint = ? AND status IN ('IN_QUEUE', 'IN_PROGRESS')",
            (self._clock(), job_id, endpoint),
        )

    def retry(self, endpoint: str, job_id: str) -> Job | None:
        """Queue a FAILED or TIMED_OUT job again, with its time to live counted anew. None for any other."""
        now = self._clock()
        queued = self._change(
            "UPDATE jobs SET status = 'IN_QUEUE', expires_at = ?1 + expires_at - submitted_at, submitted_at = ?1, "
            "started_at = NULL, finished_at = NULL, worker = NULL, requeues = 0, retries = retries + 1, "
            "output = NULL, output_seq = NULL, error = NULL "
            "WHERE id = ?2 AND endpoint = ?3 AND status IN ('FAILED', 'TIMED_OUT')",
            (now, job_id, endpoint),
        )
        return queued[0] if queued else None

    def purge(self, endpoint: str) -> int:
        """End every queued job as CANCELLED and return how many there were."""
        return len(
            self._change(
                "UPDATE jobs SET status = 'CANCELLED', finished_at = ? WHERE endpoint = ? AND status = 'IN_QUEUE'",
                (self._clock(), endpoint),
            )
        )

    def waiting(self, endpoint: str) -> list[Job]:
        """Return the queued jobs, oldest first."""
        return self._select("status = 'IN_QUEUE' AND endpoint = ? ORDER BY number", (endpoint,))

    def requeue(self, worker: str, job_ids: set[str] | None = None, *, blame: bool = True) -> None:
        """Queue again the running jobs of a worker that lost them: these, or all.

        With `blame` it counts: after `MOST_REQUEUES` times the job FAILS, for it may be what ends the workers.
        """
        for job in self._select("status = 'IN_PROGRESS' AND worker = ?", (worker,)):
            if job_ids is None or job.id in job_ids:
                self._requeue_one(job.id, blame)

    def recover(self) -> None:
        """Queue again what was running when the studio was killed. Call it once, before any worker exists."""
        for job in self._select("status = 'IN_PROGRESS'", ()):
            self._requeue_one(job.id, blame=True)

    def end_overdue(self) -> None:
        """End as TIMED_OUT what has run or lived too long."""
        now = self._clock()
        self._change(
            "UPDATE jobs SET status = 'TIMED_OUT', finished_at = ?1, error = CASE WHEN expires_at < ?1 "
            "THEN 'The job was older than its ttl of ' || CAST(expires_at - submitted_at AS INTEGER) || ' s.' "
            "ELSE 'The job ran longer than its executionTimeout of ' || CAST(execution_timeout_s AS INTEGER) || ' s.' "
            "END WHERE (status = 'IN_PROGRESS' AND min(started_at + execution_timeout_s, expires_at) < ?1) "
            "OR (status = 'IN_QUEUE' AND expires_at < ?1)",
            (now,),
        )

    def prune(self) -> None:
        """Forget what ended long enough ago."""
        self._database.execute("DELETE FROM jobs WHERE finished_at + keep_s < ?", (self._clock(),))

    def add_chunk(self, job_id: str, worker: str, output: Any) -> None:
        """Keep a piece of a generator's output until somebody streams it."""
        self._database.execute(
            "INSERT INTO chunks (job, output) SELECT id, ? FROM jobs WHERE id = ? AND worker = ? "
            "AND status = 'IN_PROGRESS'",
            (to_json(output), job_id, worker),
        )

    def take_chunks(self, job_id: str) -> list[Any]:
        """Return the pieces that came since the last call."""
        rows = self._database.execute("SELECT number, output FROM chunks WHERE job = ? ORDER BY number", (job_id,))
        pieces = rows.fetchall()
        if pieces:
            self._database.execute("DELETE FROM chunks WHERE job = ? AND number <= ?", (job_id, pieces[-1][0]))
        return [json.loads(output) for _, output in pieces]

    def count(self, endpoint: str) -> dict[str, int]:
        """Return how many jobs are in each state, and under "RETRIED" how often one was retried."""
        states = self._database.execute(
            "SELECT status, count(*) FROM jobs WHERE endpoint = ? GROUP BY status", (endpoint,)
        )
        retried = self._database.execute("SELECT coalesce(sum(retries), 0) FROM jobs WHERE endpoint = ?", (endpoint,))
        return {**dict(states.fetchall()), "RETRIED": retried.fetchone()[0]}

    def _requeue_one(self, job_id: str, blame: bool) -> None:
        self._change(
            "UPDATE jobs SET status = CASE WHEN ?1 AND requeues >= ?2 THEN 'FAILED' ELSE 'IN_QUEUE' END, "
            "error = CASE WHEN ?1 AND requeues >= ?2 THEN ?3 END, "
            "finished_at = CASE WHEN ?1 AND requeues >= ?2 THEN ?4 END, "
            "requeues = requeues + ?1, output = NULL, output_seq = NULL WHERE id = ?5",
            (
                int(blame),
                MOST_REQUEUES,
                f"The worker stopped {MOST_REQUEUES + 1} times while it ran this job. Its log says why.",
                self._clock(),
                job_id,
            ),
        )

    def _select(self, condition: str, values: tuple[Any, ...]) -> list[Job]:
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {condition}", values)  # noqa: S608 - ours
        return [Job(*row) for row in rows.fetchall()]

    def _change(self, statement: str, values: tuple[Any, ...]) -> list[Job]:
        rows = self._database.execute(f"{statement} RETURNING {_COLUMNS}", values).fetchall()
        jobs = [Job(*row) for row in rows]
        for job in jobs:
            self._changed(job)
        return jobs
