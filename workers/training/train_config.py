"""Prints what ai-toolkit would be told: `python -m workers.training.train_config REQUEST.json [--gpu-memory-gb 24]`."""

import argparse
import json
import sys
from pathlib import Path

from pydantic import ValidationError

from backend.contract import TrainingRequest, explain
from backend.errors import AtelierError, InvalidRequest
from backend.settings import Settings
from backend.toolkit_config import config_text


def main(arguments: list[str]) -> str:
    """Return the YAML of what a request would run. Raises InvalidRequest for one that can't."""
    parser = argparse.ArgumentParser(prog="python -m workers.training.train_config", description=__doc__)
    parser.add_argument("request", type=Path, help="a file with what the training endpoint is sent")
    parser.add_argument("--gpu-memory-gb", type=float, default=24.0)
    asked = parser.parse_args(arguments)
    return config_text(_read_request(asked.request), asked.gpu_memory_gb, Settings().atelier_base_models)


def _read_request(path: Path) -> TrainingRequest:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        # The body of a call to the endpoint is wrapped, request.json in storage is not.
        if isinstance(content, dict) and set(content) == {"input"}:
            content = content["input"]
        return TrainingRequest.model_validate(content)
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}.") from error
    except ValidationError as error:
        raise InvalidRequest(f"{path.name}: {explain(error)}") from error
    except ValueError as error:
        raise InvalidRequest(f"{path.name} is not JSON: {error}.") from error


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]), end="")
    except AtelierError as problem:
        sys.exit(str(problem))
