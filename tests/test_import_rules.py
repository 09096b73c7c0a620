"""The architecture, as rules on imports: who may know whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED_WITH_WORKERS = {
    "contract", "errors", "settings", "storage", "keys", "base_models", "pictures", "archives", "lora_files",
    "toolkit_config", "diffusers_options", "trainable", "hugging_face",
}  # fmt: skip


def imports_of(path: Path) -> set[str]:
    """Every module a file imports, wherever in it, by its dotted name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(str(node.module))
    return found


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files("backend"), ids=str)
def test_backend_knows_neither_screen_nor_torch_nor_workers(path: Path) -> None:
    assert not {name for name in imports_of(path) if name.split(".")[0] in {"gradio", "torch", "workers", "app"}}


@pytest.mark.parametrize("path", files("app"), ids=str)
def test_the_screen_knows_only_the_backend(path: Path) -> None:
    assert not {name for name in imports_of(path) if name.split(".")[0] in {"workers", "torch", "boto3", "runpod"}}


@pytest.mark.parametrize("path", files("workers"), ids=str)
def test_workers_know_the_contract_and_no_more(path: Path) -> None:
    names = imports_of(path)
    assert not {name for name in names if name.split(".")[0] in {"gradio", "app"}}
    known = {name.split(".")[1] for name in names if name.startswith("backend.")}
    assert known <= SHARED_WITH_WORKERS


def test_the_contract_imports_pydantic_only() -> None:
    names = {name for path in files("backend/contract") for name in imports_of(path)}
    outside = {name.split(".")[0] for name in names if not name.startswith("backend.contract.")}
    assert outside - sys.stdlib_module_names == {"pydantic"}


@pytest.mark.parametrize("path", [*files("app"), *files("backend"), *files("workers")], ids=str)
def test_only_settings_and_child_processes_read_the_environment(path: Path) -> None:
    if path.name not in ("settings.py", "environment.py"):
        assert "os.environ" not in path.read_text()


def test_assets_hold_no_python() -> None:
    assert not list((ROOT / "assets").rglob("*.py"))


def test_every_module_opens_with_what_it_is_for() -> None:
    for path in [*files("app"), *files("backend"), *files("workers")]:
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


@pytest.mark.parametrize("module", ["app.serving", "workers.training.__main__", "workers.image_generation.__main__"])
def test_torch_is_not_loaded_by_the_app_nor_by_an_idle_worker(module: str) -> None:
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, timeout=120).returncode == 0
