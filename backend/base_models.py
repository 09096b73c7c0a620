"""The base models: each a folder under assets/base_models, refused by file and field when it can't be used."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from backend.contract import BaseModelSpec, Message, explain
from backend.errors import BaseModelRejected, NotFound

ASSETS = Path(__file__).resolve().parents[1] / "assets"
BASE_MODELS: Path = ASSETS / "base_models"

M = TypeVar("M", bound=Message)


def load_base_models(root: Path = BASE_MODELS) -> dict[str, BaseModelSpec]:
    """Return every base model by id, in the order of their names. Raises BaseModelRejected for the first bad one."""
    specs = [load_base_model(folder.name, root) for folder in root.iterdir() if folder.is_dir()]
    return {spec.id: spec for spec in sorted(specs, key=lambda spec: spec.name.casefold())}


def load_base_model(base_model_id: str, root: Path = BASE_MODELS) -> BaseModelSpec:
    """Return one base model. Raises NotFound for an unknown id, BaseModelRejected for a bad folder."""
    folder = root / base_model_id
    if folder.parent != root or not folder.is_dir():
        known = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir()))
        raise NotFound(f"There is no base model '{base_model_id}'.", f"Choose one of: {known}.")
    declared = _read_toml(folder / "model.toml")
    if (workflow := folder / "workflow.json").exists():
        declared["workflow"] = _read_json(workflow)
    try:
        return BaseModelSpec.model_validate({"id": base_model_id, **declared})
    except ValidationError as error:
        raise BaseModelRejected(f"{folder.name}/model.toml: {explain(error)}") from error


def read_block(spec: BaseModelSpec, name: Literal["diffusers", "ai_toolkit"], kind: type[M]) -> M:
    """Return a block of a model.toml that one engine alone reads. Raises BaseModelRejected by file and field."""
    try:
        return kind.model_validate(getattr(spec, name))
    except ValidationError as error:
        raise BaseModelRejected(f"{spec.id}/model.toml, [{name}]: {explain(error)}") from error


def weights_folder(spec: BaseModelSpec, root: Path = BASE_MODELS) -> Path | None:
    """Return the weights that came with the repository, or None for a model that is downloaded."""
    return root / spec.id / spec.weights.path if spec.weights.path else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BaseModelRejected(
            f"{path.parent.name} has no model.toml.", "Copy one from another base model."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BaseModelRejected(f"{path.parent.name}/model.toml is not TOML: {error}.") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BaseModelRejected(f"{path.parent.name}/{path.name} is not JSON: {error}.") from error
    return content


def check(ids: list[str], root: Path = BASE_MODELS) -> int:
    """Print one line for each base model (all, if none is named); return how many are refused."""
    refused = 0
    for base_model_id in ids or sorted(folder.name for folder in root.iterdir() if folder.is_dir()):
        try:
            spec = load_base_model(base_model_id, root)
            _check_blocks(spec)
            print(f"{base_model_id}: ok ({spec.name}, {spec.architecture})")
        except (BaseModelRejected, NotFound) as error:
            print(f"{base_model_id}: {error}")
            refused += 1
    return refused


def _check_blocks(spec: BaseModelSpec) -> None:
    from backend.diffusers_options import options_of  # which themselves read base models
    from backend.toolkit_config import unknown_keys

    if spec.diffusers:
        options_of(spec)
    if spec.ai_toolkit and (unknown := unknown_keys(spec)):
        raise BaseModelRejected(
            f"{spec.id}/model.toml, [ai_toolkit]: ai-toolkit doesn't know {', '.join(unknown)} and would ignore it.",
            "Correct the spelling.",
        )


if __name__ == "__main__":
    if sys.argv[1:2] != ["check"]:
        sys.exit("usage: python -m backend.base_models check [ID …]")
    from backend.settings import Settings  # which itself says where base models lie

    sys.exit(check(sys.argv[2:], Settings().atelier_base_models))
