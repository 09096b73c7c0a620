"""What a worker says of a run: the time it was waited for is a phase of it."""

import pytest

from backend.contract import Progress, new_run_id
from backend.keys import RunKeys
from workers.report import Report

KEYS = RunKeys("somebody", new_run_id("train"))


def queued(report: Report) -> float:
    return next(each.seconds for each in report.phases if each.phase == "queued")


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 12), (2, 42)])
def test_every_attempt_is_waited_for_once(attempt: int, seconds: float) -> None:
    before: Progress = Report(KEYS, 1, queued_s=12).snapshot()
    assert queued(Report(KEYS, attempt, before, queued_s=30)) == seconds
