"""The command that prints what ai-toolkit would be told."""

import json
from pathlib import Path

import pytest
import yaml

from backend.errors import InvalidRequest
from workers.training.train_config import main


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_consultant_sees_what_will_run(tmp_path: Path, wrapped: bool) -> None:
    request = {"lora_name": "Mine", "dataset_key": "pictures.zip", "rank": 32, "base_model": "sdxl"}
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"input": request} if wrapped else request))
    printed = yaml.safe_load(main([str(file), "--gpu-memory-gb", "16"]))
    assert printed["config"]["process"][0]["network"] == {"type": "lora", "linear": 32, "linear_alpha": 32}


@pytest.mark.parametrize(
    ("content", "words"), [("{", "is not JSON"), ('{"lora_name": "x", "dataset_key": "y", "stepz": 3}', "stepz")]
)
def test_a_bad_request_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "request.json"
    file.write_text(content)
    with pytest.raises(InvalidRequest, match=words):
        main([str(file)])
    with pytest.raises(InvalidRequest, match="can't be read"):
        main([str(tmp_path / "none.json")])
