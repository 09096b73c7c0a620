"""A worker for tests: RunPod's unmodified SDK around a handler that does what its input says.

It blocks where a careless handler would.
"""
# ruff: noqa: ASYNC110, ASYNC240, ASYNC251

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import runpod


async def handle(job: dict[str, Any]) -> Any:
    asked = job["input"]
    if "mark" in asked:
        Path(asked["mark"]).touch()
    match asked.get("do", "echo"):
        case "echo":
            return {"echo": asked.get("say"), "started_at": time.time()}
        case "echo escaped":
            return ascii(asked["say"])
        case "sleep":
            return await _sleep(asked)
        case "block":
            time.sleep(asked["seconds"])
            return "unblocked"
        case "raise":
            raise ValueError(asked["say"])
        case "raise once":
            if not Path(asked["raised"]).exists():
                Path(asked["raised"]).touch()
                raise ValueError("the first time it raises")
            return "second time"
        case "error":
            return {"error": asked["say"]}
        case "nan":
            return {"numbers": [float("nan"), float("inf"), -float("inf"), 1.5]}
        case "progress":
            return await _report_progress(job, asked)
        case "unserialisable":
            return {"of": {1, 2}}
        case "large":
            return {"bytes": "x" * asked["bytes"]}
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "refresh":
            return {"refresh_worker": True, "pid": os.getpid()}
        case "environment":
            return {"variables": dict(os.environ), "folder": str(Path.cwd()), "pid": os.getpid()}
    raise AssertionError(f"no such thing to do: {asked}")


async def _sleep(asked: dict[str, Any]) -> str:
    try:
        await asyncio.sleep(asked["seconds"])
    except asyncio.CancelledError:
        if "cancelled" in asked:
            Path(asked["cancelled"]).touch()
        raise
    return "slept"


async def _report_progress(job: dict[str, Any], asked: dict[str, Any]) -> str:
    for report in asked["reports"]:
        runpod.serverless.progress_update(job, report)
        await asyncio.sleep(0.3)
    while not Path(asked["until"]).exists():
        await asyncio.sleep(0.05)
    return "done"


async def stream(job: dict[str, Any]) -> Any:
    for number in range(job["input"]["count"]):
        yield {"number": number}
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    if sys.argv[1:] == ["stream"]:
        runpod.serverless.start({"handler": stream, "return_aggregate_stream": True})
    else:
        runpod.serverless.start({"handler": handle})
