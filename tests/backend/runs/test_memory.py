"""What is remembered of runs: what is newer wins, whichever look comes back last."""

import time

from backend.contract import TrainingRequest, new_run_id
from backend.keys import RunKeys
from backend.runs.memory import Memory
from backend.runs.state import RunState, cancelled


def test_a_look_from_before_a_run_was_begun_anew_is_not_kept() -> None:
    request = TrainingRequest(
        run_id=new_run_id("train"), owner="a", lora_name="Z", dataset_key="x/y", base_model="tiny-flux"
    )
    keys, memory = RunKeys("a", str(request.run_id)), Memory()
    queued = RunState(run_id=str(request.run_id), kind="train", status="queued", submitted_at=0, request=request)
    looked_at = time.monotonic()
    memory.keep(keys, cancelled(queued), looked_at)
    assert memory.end_of(keys)
    memory.forget(keys)  # it is begun anew, while a poll that began before still has it as cancelled
    memory.keep(keys, cancelled(queued), looked_at)
    assert memory.end_of(keys) is None
    memory.keep(keys, queued, time.monotonic())
    known = memory.of(keys)
    assert known and known.request == request and known.ended is None
