"""The jobs by themselves, with a clock of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.local.queue import KEEP_ASYNC_S, KEEP_SYNC_S, MOST_REQUEUES, Job, JobQueue


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes() -> list[Job]:
    return []


@pytest.fixture
def queue(tmp_path: Path, clock: Clock, changes: list[Job]) -> Iterator[JobQueue]:
    queue = JobQueue(tmp_path / "queue.db", changes.append, clock)
    yield queue
    queue.close()


def submit(queue: JobQueue, job_input: object = None, *, execution_timeout_s: float = 600, ttl_s: float = 3600) -> str:
    return queue.submit("training", job_input, execution_timeout_s=execution_timeout_s, ttl_s=ttl_s).id


def status(queue: JobQueue, job_id: str) -> str:
    job = queue.find("training", job_id)
    return job.status if job else "gone"


def test_the_first_to_come_is_the_first_to_go(queue: JobQueue) -> None:
    ids = [submit(queue) for _ in range(3)]
    assert [job.id for job in queue.take("training", "w", 2)] == ids[:2]
    queue.requeue("w", {ids[1]})
    assert [job.id for job in queue.take("training", "w", 5)] == ids[1:]
    assert queue.take("image_generation", "w") == []


def test_jobs_outlive_the_process(queue: JobQueue, tmp_path: Path, clock: Clock) -> None:
    running, waiting = submit(queue, {"steps": 5}), submit(queue)
    queue.take("training", "w")
    queue.close()
    queue = JobQueue(tmp_path / "queue.db", lambda job: None, clock)
    queue.recover()
    assert [job.input for job in queue.take("training", "w")] == ['{"steps":5}']
    assert (status(queue, running), status(queue, waiting)) == ("IN_PROGRESS", "IN_QUEUE")
    queue.close()


def test_a_lost_job_is_tried_three_times(queue: JobQueue) -> None:
    job_id = submit(queue)
    for _ in range(MOST_REQUEUES):
        queue.take("training", "w")
        queue.requeue("w")
        assert status(queue, job_id) == "IN_QUEUE"
    queue.take("training", "w")
    queue.requeue("w", blame=False)
    assert status(queue, job_id) == "IN_QUEUE"
    queue.take("training", "w")
    queue.requeue("w")
    job = queue.find("training", job_id)
    assert job
    assert (job.status, job.error) == (
        "FAILED",
        "The worker stopped 3 times while it ran this job. Its log says why.",
    )


def test_only_the_worker_that_has_a_job_may_finish_it(queue: JobQueue) -> None:
    job_id = submit(queue)
    queue.take("training", "first")
    queue.requeue("first")
    queue.take("training", "second")
    assert not queue.complete(job_id, "first", "late")
    assert not queue.fail(job_id, "late", worker="first")
    assert queue.complete(job_id, "second", "done")
    assert not queue.fail(job_id, "later still", worker="second")
    assert status(queue, job_id) == "COMPLETED"


def test_a_result_counts_while_its_job_waits_again_but_an_error_does_not(queue: JobQueue) -> None:
    job_id = submit(queue)
    queue.take("training", "w")
    queue.requeue("w")
    assert not queue.fail(job_id, "connection lost", worker="w")
    assert queue.complete(job_id, "w", {"done": True})


def test_a_cancelled_job_stays_cancelled(queue: JobQueue, changes: list[Job]) -> None:
    job_id = submit(queue)
    queue.take("training", "w")
    queue.cancel("training", job_id)
    queue.complete(job_id, "w", "late")
    queue.requeue("w")
    queue.cancel("training", job_id)
    assert [job.status for job in changes] == ["IN_QUEUE", "IN_PROGRESS", "CANCELLED"]


def test_older_progress_is_dropped(queue: JobQueue) -> None:
    job_id = submit(queue)
    queue.take("training", "w")
    for output in ({"seq": 2}, {"seq": 1}, "without a number"):
        queue.record_progress(job_id, "w", output)
    queue.record_progress(job_id, "another", {"seq": 9})
    job = queue.find("training", job_id)
    assert job
    assert job.output == '"without a number"'
    queue.record_progress(job_id, "w", {"seq": 1})
    assert queue.find("training", job_id) == job


def test_time_limits_count_from_start_and_from_submission(queue: JobQueue, clock: Clock) -> None:
    running, old, waiting = (
        submit(queue, execution_timeout_s=10),
        submit(queue, ttl_s=25),
        submit(queue, ttl_s=40),
    )
    clock.now += 20
    queue.take("training", "w", 2)
    clock.now += 9
    queue.end_overdue()
    assert [status(queue, job_id) for job_id in (running, old, waiting)] == ["IN_PROGRESS", "TIMED_OUT", "IN_QUEUE"]
    clock.now += 2
    queue.end_overdue()
    assert status(queue, running) == "TIMED_OUT"
    assert queue.retry("training", old)
    clock.now += 20
    queue.end_overdue()
    assert [status(queue, job_id) for job_id in (old, waiting)] == ["IN_QUEUE", "TIMED_OUT"]


def test_results_are_kept_as_long_as_runpod_keeps_them(queue: JobQueue, clock: Clock) -> None:
    asynchronous = submit(queue)
    synchronous = queue.submit("training", None, execution_timeout_s=9, ttl_s=9, synchronous=True).id
    waiting = submit(queue)
    for job in queue.take("training", "w", 2):
        queue.add_chunk(job.id, "w", 1)
        queue.complete(job.id, "w", None)
    clock.now += KEEP_SYNC_S + 1
    queue.prune()
    assert (status(queue, asynchronous), status(queue, synchronous)) == ("COMPLETED", "gone")
    clock.now += KEEP_ASYNC_S
    queue.prune()
    assert (status(queue, asynchronous), status(queue, waiting)) == ("gone", "IN_QUEUE")


def test_pieces_are_taken_once(queue: JobQueue) -> None:
    job_id = submit(queue)
    queue.take("training", "w")
    for number in range(3):
        queue.add_chunk(job_id, "w", number)
    assert queue.take_chunks(job_id) == [0, 1, 2]
    queue.add_chunk(job_id, "w", 3)
    assert queue.take_chunks(job_id) == [3]
    assert queue.take_chunks(job_id) == []
