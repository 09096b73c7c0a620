"""What the three Dockerfiles say, and how the trainer starts; tests/test_images.py starts what they would hold."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backend.settings import Settings
from workers.training.health import problems

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
DOCKERFILES = [ROOT / "Dockerfile", *sorted(ROOT.glob("workers/*/Dockerfile"))]
SCRIPTS = sorted(ROOT.glob("workers/*/start.sh"))


def name_of(path: Path) -> str:
    return path.parent.name


def run(*command: str | Path, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=name_of)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    checked = run(TOOLS / "hadolint", dockerfile)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_shellcheck_finds_nothing(script: Path) -> None:
    checked = run(TOOLS / "shellcheck", script)
    assert checked.returncode == 0, checked.stdout
    assert os.access(script, os.X_OK)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder laid out like the images, with a Python that only writes down what it is asked to run."""
    for script in SCRIPTS:
        folder = tmp_path / "lora-atelier" / "workers" / name_of(script)
        folder.mkdir(parents=True)
        shutil.copy(script, folder)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$PWD: $*" >> "$CALLS"\n[ "$*" != "-m $FAILS" ]\n')
    python.chmod(0o755)
    return tmp_path


def start(image: Path, worker: str = "training", **environment: str) -> tuple[list[str], str]:
    calls = image / "calls"
    ended = run(
        image / "lora-atelier/workers" / worker / "start.sh",
        ATELIER_PYTHON=str(image / "python"),
        ATELIER_VOLUME=str(image / "volume"),
        CALLS=str(calls),
        **environment,
    )
    assert ended.returncode == 0, ended.stderr
    return sorted(calls.read_text().splitlines()), ended.stderr


def test_starting_fetches_flux_and_takes_jobs_without_a_volume_too(image: Path) -> None:
    here = image / "lora-atelier"
    calls, said = start(image)
    assert calls == [f"{here}: -u -m workers.training", f"{here}: -u -m workers.weights flux1-dev"]
    assert "No network volume" in said
    assert (image / "volume").is_dir()


@pytest.mark.parametrize(
    ("models", "fetched"),
    [("sdxl,flux1-dev", ["workers.weights sdxl flux1-dev"]), ("", []), ("sdxl", ["weights sdxl"])],
)
def test_what_is_fetched_ahead_can_be_chosen(image: Path, models: str, fetched: list[str]) -> None:
    calls, _ = start(image, PREFETCH_MODELS=models)
    assert len(calls) == 1 + len(fetched)
    assert all(call.endswith(expected) for call, expected in zip(calls[1:], fetched, strict=True))


@pytest.mark.parametrize("fails", ["", "workers.image_generation.links"])
def test_the_image_worker_links_what_there_is_and_takes_jobs_whatever_came_of_it(image: Path, fails: str) -> None:
    here = image / "lora-atelier"
    calls, said = start(image, "image_generation", FAILS=fails, PREFETCH_MODELS="")
    assert calls == [f"{here}: -m workers.image_generation.links", f"{here}: -u -m workers.image_generation"]
    calls, _ = start(image, "image_generation", FAILS=fails, PREFETCH_MODELS="sdxl,flux1-dev")
    assert not any("sdxl" in call for call in calls)
    (image / "volume").mkdir()
    calls, _ = start(image, "image_generation", FAILS=fails, PREFETCH_MODELS="sdxl,flux1-dev")
    assert f"{here}: -u -m workers.image_generation.links sdxl flux1-dev" in calls
    assert ("could not be linked" in said) == bool(fails)


def test_a_healthy_worker_has_no_problems_and_an_ill_one_says_which(tmp_path: Path) -> None:
    toolkit = tmp_path / "ai-toolkit"
    settings = Settings(
        atelier_training_engine="ai_toolkit", ai_toolkit_path=toolkit, atelier_volume=tmp_path / "volume"
    )
    assert [problem.split()[0] for problem in problems(settings, "sleep 1000")] == [
        "The",
        "ai-toolkit",
        str(tmp_path / "volume"),
    ]
    toolkit.mkdir()
    (toolkit / "run.py").touch()
    settings.atelier_volume.mkdir()
    assert problems(settings, "/opt/atelier/bin/python -u -m workers.training") == []
