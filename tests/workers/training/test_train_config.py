"""The command that prints what ai-toolkit would be told."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from backend.base_models import BASE_MODELS
from backend.errors import InvalidRequest
from workers.training.train_config import main


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_consultant_sees_what_will_run(tmp_path: Path, wrapped: bool) -> None:
    request = {"lora_name": "Mine", "dataset_key": "pictures.zip", "rank": 32, "base_model": "sdxl"}
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"input": request} if wrapped else request))
    printed = yaml.safe_load(main([str(file), "--gpu-memory-gb", "16"]))
    assert printed["config"]["process"][0]["network"] == {"type": "lora", "linear": 32, "linear_alpha": 32}


def test_a_base_model_of_one_s_own_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(BASE_MODELS / "sdxl", tmp_path / "models" / "mine")
    monkeypatch.setenv("ATELIER_BASE_MODELS", str(tmp_path / "models"))
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"lora_name": "Mine", "dataset_key": "pictures.zip", "base_model": "mine"}))
    assert yaml.safe_load(main([str(file)]))["config"]["process"][0]["model"]["arch"] == "sdxl"


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
