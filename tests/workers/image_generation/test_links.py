"""The volume's files in ComfyUI's folders: linked as declared; shards and broken files are refused by name."""

import threading
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

from backend.base_models import load_base_model
from backend.contract import BaseModelSpec, WeightFile
from backend.errors import WeightsError
from backend.settings import Settings
from backend.storage import sha256_of
from tests.workers.hub import Hub
from workers.image_generation.links import link_weights, link_what_is_there, main
from workers.weights_lock import fetching

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(atelier_volume=tmp_path / "volume", comfyui_path=tmp_path / "comfyui")


def spec_with(*files: WeightFile) -> BaseModelSpec:
    spec = load_base_model("sdxl")
    return spec.model_copy(update={"weights": spec.weights.model_copy(update={"comfyui": list(files)})})


def on_volume(settings: Settings, name: str, cut_bytes: int = 0) -> Path:
    """Put a file into the volume as the Hub's library lays it out."""
    path = settings.atelier_volume / "huggingface" / "models--me--mine" / "snapshots" / REVISION / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": numpy.ones((64, 64), "float32")}, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut_bytes])
    return path


def declared(file: str, folder: str = "vae", **more: str) -> WeightFile:
    return WeightFile.model_validate({"repo": "me/mine", "file": file, "revision": REVISION, "folder": folder, **more})


def refusal(settings: Settings, file: WeightFile) -> str:
    with pytest.raises(WeightsError) as caught:
        link_weights(spec_with(file), settings, fetch=False)
    return str(caught.value)


def test_files_appear_in_their_folders_under_their_names(settings: Settings) -> None:
    first, second = on_volume(settings, "ae.safetensors"), on_volume(settings, "split/clip.safetensors")
    spec = spec_with(
        declared("ae.safetensors"), declared("split/clip.safetensors", "text_encoders", name="l.safetensors")
    )
    for _ in range(2):
        models = link_weights(spec, settings, fetch=False)
    assert models == settings.comfyui_path / "models"
    assert (models / "vae" / "ae.safetensors").samefile(first)
    assert (models / "text_encoders" / "l.safetensors").samefile(second)
    assert len(list(models.rglob("*.safetensors"))) == 2


def test_a_link_follows_a_new_revision_and_a_file_of_the_image_stays(settings: Settings) -> None:
    path = on_volume(settings, "ae.safetensors")
    models = settings.comfyui_path / "models"
    (models / "vae").mkdir(parents=True)
    (models / "vae" / "ae.safetensors").symlink_to("/gone")
    (models / "vae" / "own.safetensors").write_text("own")
    on_volume(settings, "own.safetensors")
    link_weights(spec_with(declared("ae.safetensors"), declared("own.safetensors")), settings, fetch=False)
    assert (models / "vae" / "ae.safetensors").samefile(path)
    assert (models / "vae" / "own.safetensors").read_text() == "own"


def test_one_shard_of_several_is_refused(settings: Settings) -> None:
    said = refusal(settings, declared("model-00001-of-00002.safetensors"))
    assert "sdxl/model.toml: model-00001-of-00002.safetensors is one shard of several" in said


def test_a_file_cut_short_is_refused(settings: Settings) -> None:
    on_volume(settings, "ae.safetensors", cut_bytes=100)
    assert "ae.safetensors is cut short: " in refusal(settings, declared("ae.safetensors"))


def test_a_file_of_other_content_is_refused(settings: Settings) -> None:
    path = on_volume(settings, "ae.safetensors")
    assert "not the file that was declared" in refusal(settings, declared("ae.safetensors", sha256="0" * 64))
    spec = spec_with(declared("ae.safetensors", sha256=sha256_of(path)))
    link_weights(spec, settings, fetch=False)


def test_a_place_outside_the_models_folder_is_refused(settings: Settings) -> None:
    assert "leads out of ComfyUI's models folder" in refusal(settings, declared("ae.safetensors", "../.."))


def test_at_the_start_only_what_is_there_is_linked(settings: Settings) -> None:
    on_volume(settings, "ae.safetensors")
    ready = spec_with(declared("ae.safetensors"))
    other = spec_with(declared("ae.safetensors", "checkpoints"), declared("far.safetensors")).model_copy(
        update={"id": "other"}
    )
    states = link_what_is_there([ready, other, spec_with().model_copy(update={"id": "tiny"})], settings)
    assert states == {
        "sdxl": "ready",
        "other": "far.safetensors of me/mine is not on the volume.",
        "tiny": "not for ComfyUI",
    }


def test_a_file_is_fetched_under_the_lock_of_all_workers(
    settings: Settings, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Read from the environment when the library is imported, which is long ago.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr("workers.weights_lock.LOOK_EVERY_S", 0.05)
    wanted = WeightFile(repo="somebody/model", file="model_index.json", folder="vae")
    linking = threading.Thread(target=link_weights, args=(spec_with(wanted), settings))
    with fetching("somebody/model", settings.hub_cache):
        linking.start()
        linking.join(0.3)
        assert not hub.served
    linking.join(20)
    assert (settings.comfyui_path / "models/vae/model_index.json").read_bytes() == b"{}"
    assert link_weights(spec_with(wanted), settings)
    assert hub.served == ["model_index.json"]


def test_base_models_that_are_named_are_fetched_and_others_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    monkeypatch.setenv("ATELIER_VOLUME", str(tmp_path / "volume"))
    assert main([]) == 0
    assert "sdxl: sd_xl_base_1.0.safetensors of stabilityai/" in capsys.readouterr().out
    assert main(["tiny-flux", "no-such-model"]) == 1
    said = capsys.readouterr()
    assert said.out == "tiny-flux: ready\n"
    assert said.err.startswith("no-such-model: ")
