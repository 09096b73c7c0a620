"""The app's own image as far as it can be checked without building it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "snapshot")
TOOLS = Path(sys.executable).parent


def test_hadolint_finds_nothing() -> None:
    checked = subprocess.run([TOOLS / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout


def test_the_image_has_everything_the_page_is_made_of(tmp_path: Path) -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    stage = ""
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        match line.split():
            case ["FROM", *_, name]:
                stage = name
            case ["COPY", *sources, target]:
                assert set(sources) <= let_in
                for source in sources if stage != "demo" else []:
                    path = ROOT / source
                    if path.is_dir():
                        shutil.copytree(path, tmp_path / target, ignore=LEFT_OUT)
                    else:
                        shutil.copy(path, tmp_path / target)
    program = """
from app import interface
from backend.settings import Settings
from backend.studio import Studio
import backend
studio = Studio.connect(Settings(r2_endpoint_url="http://127.0.0.1:9"))
assert interface.build(studio) and interface.launch_options(studio)["head"]
print(backend.__path__, *studio.base_models)
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    built = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert built.returncode == 0, built.stderr
    assert str(tmp_path) in built.stdout
    assert "flux1-dev" in built.stdout
