"""Base-model folders: the shipped ones are good, and a bad one is refused by file and field."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backend.base_models import BASE_MODELS, load_base_model, load_base_models
from backend.errors import BaseModelRejected, NotFound

ROOT = Path(__file__).parents[2]
TINY = (BASE_MODELS / "tiny-flux" / "model.toml").read_text()


def rejection(root: Path, text: str) -> str:
    (root / "mine").mkdir()
    (root / "mine" / "model.toml").write_text(text)
    with pytest.raises(BaseModelRejected) as caught:
        load_base_model("mine", root)
    return str(caught.value)


def test_every_shipped_base_model_loads_and_is_named_by_its_folder() -> None:
    specs = load_base_models()
    assert {"tiny-flux", "flux1-dev"} <= set(specs)
    assert all(spec.id == name for name, spec in specs.items())


def test_a_misspelt_field_is_named(tmp_path: Path) -> None:
    said = rejection(tmp_path, TINY.replace("size_multiple", "size_multipel"))
    assert "mine/model.toml: 'size_multipel' is not a known field" in said


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    assert "'architecture' is missing" in rejection(tmp_path, TINY.replace("architecture", "# architecture"))


def test_text_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    assert "mine/model.toml is not TOML" in rejection(tmp_path, "name = ")


def test_weights_need_one_source_inside_the_folder(tmp_path: Path) -> None:
    assert "'path' must stay inside" in rejection(tmp_path, TINY.replace('"snapshot"', '"../secret"'))


def test_the_check_heeds_where_base_models_lie(tmp_path: Path) -> None:
    shutil.copytree(BASE_MODELS / "sdxl", tmp_path / "mine")
    folder = tmp_path / "misspelt"
    folder.mkdir()
    text = (BASE_MODELS / "flux1-dev" / "model.toml").read_text()
    (folder / "model.toml").write_text(text.replace("[diffusers]\nguidance", "[diffusers]\nguidence"))
    command = [sys.executable, "-m", "backend.base_models", "check"]
    environment = {"PATH": "", "ATELIER_BASE_MODELS": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    mine, misspelt = done.stdout.splitlines()
    assert (done.returncode, done.stderr, mine) == (1, "", "mine: ok (Stable Diffusion XL, sdxl)")
    assert misspelt.startswith("misspelt: misspelt/model.toml, [diffusers]: ")
    assert "guidence" in misspelt


def test_an_unknown_id_names_the_known_ones() -> None:
    with pytest.raises(NotFound, match="flux1-dev"):
        load_base_model("flux9")
    with pytest.raises(NotFound):
        load_base_model("../base_models/tiny-flux")


def test_every_file_in_git_is_under_ten_megabytes() -> None:
    assert all(path.stat().st_size < 10**7 for path in BASE_MODELS.rglob("*") if path.is_file())
