"""ComfyUI's messages as its versions send them, read into events and outcomes."""

import json
import struct
from typing import Any

import pytest

from backend.errors import EngineDied
from workers.image_generation.comfyui_client import (
    ComfyUIClient,
    Ended,
    Executing,
    Preview,
    Progress,
    explain_refusal,
    read_event,
    read_history,
    read_preview,
)


@pytest.mark.parametrize(
    ("kind", "data", "event"),
    [
        ("progress", {"value": 3, "max": 20, "node": "13", "prompt_id": "p"}, Progress("p", "13", 3, 20)),
        ("progress", {"value": 3, "max": 20}, Progress("", "", 3, 20)),
        ("executing", {"node": "13", "prompt_id": "p"}, Executing("p", "13")),
        ("executing", {"node": None, "prompt_id": "p"}, Executing("p", None)),
        ("execution_success", {"prompt_id": "p", "timestamp": 1}, Ended("p")),
        ("execution_error", {"prompt_id": "p", "node_id": "13"}, Ended("p")),
        ("execution_interrupted", {"prompt_id": "p"}, Ended("p")),
        ("status", {"status": {"exec_info": {"queue_remaining": 0}}}, None),
        ("crystools.monitor", {"cpu_utilization": 3}, None),
        ("progress", {"value": "?", "max": None}, None),
    ],
)
def test_messages_become_events(kind: str, data: dict[str, Any], event: object) -> None:
    assert read_event(json.dumps({"type": kind, "data": data})) == event


@pytest.mark.parametrize("text", ["", "[]", "null", '{"type": "progress"}', '{"data": 3}'])
def test_text_that_is_no_message_is_passed_over(text: str) -> None:
    assert read_event(text) is None


def test_previews_of_both_kinds_are_read() -> None:
    about = b'{"prompt_id": "p", "node_id": "13"}'
    assert read_preview(struct.pack(">II", 1, 1) + b"jpeg") == Preview("", b"jpeg")
    assert read_preview(struct.pack(">II", 4, len(about)) + about + b"jpeg") == Preview("p", b"jpeg")
    for other in (b"", b"\0\0\0", struct.pack(">II", 3, 0) + b"text", struct.pack(">II", 4, 9) + b"no json"):
        assert read_preview(other) is None


def test_a_history_tells_success_error_and_interruption_apart() -> None:
    image = {"filename": "a_00001_.png", "subfolder": "", "type": "output"}
    outputs = {"9": {"images": [image, {**image, "type": "temp"}]}, "11": {"text": ["x"]}}
    good = read_history({"outputs": outputs, "status": {"status_str": "success", "messages": []}})
    assert (good.outcome, [file.filename for file in good.outputs]) == ("success", ["a_00001_.png"])
    failed = {"node_id": "13", "node_type": "KSampler", "exception_type": "RuntimeError", "exception_message": "no\n"}
    bad = read_history({"status": {"status_str": "error", "messages": [["execution_error", failed]]}})
    assert (bad.outcome, bad.node, bad.error_type, bad.error) == ("error", "KSampler (13)", "RuntimeError", "no")
    stopped = {"status_str": "error", "messages": [["execution_start", {}], ["execution_interrupted", {}]]}
    assert read_history({"status": stopped}).outcome == "interrupted"


def test_a_refusal_names_node_input_and_value() -> None:
    problem = {
        "type": "value_bigger_than_max",
        "message": "Value 9 bigger than max",
        "extra_info": {"input_name": "seed"},
    }
    said = {"error": {"message": "failed"}, "node_errors": {"3": {"class_type": "KSampler", "errors": [problem] * 5}}}
    sentence = explain_refusal(400, said, "")
    assert sentence.startswith("KSampler (3).seed: Value 9 bigger than max; ")
    assert sentence.endswith(" and 2 more.")
    missing = {"error": {"type": "missing_node_type", "message": "Node 'X' not found.", "details": "Node ID '#1'"}}
    assert explain_refusal(400, missing, "") == "Node 'X' not found. Node ID '#1'"


def test_what_a_node_finds_itself_is_told() -> None:
    found = {
        "type": "custom_validation_failed",
        "message": "Custom validation failed for node",
        "details": "image - Invalid image file: room.png",
        "extra_info": {"input_name": "image"},
    }
    said = {"node_errors": {"5": {"class_type": "LoadImage", "errors": [found]}}}
    assert explain_refusal(400, said, "") == "LoadImage (5).image: image - Invalid image file: room.png."


async def test_nobody_there_is_an_engine_that_died() -> None:
    async with ComfyUIClient("http://127.0.0.1:1") as client:
        with pytest.raises(EngineDied, match="is not responding to GET /queue"):
            await client.queue()
        with pytest.raises(EngineDied, match="websocket was cut"):
            async with client.listen("me"):
                pass
