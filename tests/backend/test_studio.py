"""The studio as it is joined from its settings."""

import shutil
from pathlib import Path

from backend.base_models import BASE_MODELS
from backend.settings import Settings
from backend.studio import Studio


def test_the_studio_knows_the_base_models_its_settings_name(tmp_path: Path) -> None:
    shutil.copytree(BASE_MODELS / "sdxl", tmp_path / "mine")
    studio = Studio.connect(Settings(r2_endpoint_url="http://127.0.0.1:9", atelier_base_models=tmp_path))
    assert list(studio.base_models) == ["mine"]
    studio.close()
