"""What a LoRA file says about itself."""

import hashlib
import json
from pathlib import Path

import numpy
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from backend.base_models import load_base_model
from backend.contract import TrainingRequest
from backend.errors import LoraRejected
from workers.training.lora_file import describe, stamp, thumbnail_url


@pytest.fixture
def request_() -> TrainingRequest:
    return TrainingRequest(base_model="flux1-dev", lora_name="My cat", dataset_key="a.zip", trigger_word="c4t")


def test_the_metadata_names_what_others_look_for(request_: TrainingRequest) -> None:
    spec = load_base_model("flux1-dev")
    said = describe(request_, spec, request_.settings_for(spec), step=500, pictures=12, stem="My-cat")
    assert said["modelspec.sai_model_spec"] == "1.0.1"
    assert said["modelspec.architecture"] == "flux-1-dev/lora"
    assert said["modelspec.title"] == "My cat"
    assert said["modelspec.trigger_phrase"] == "c4t"
    assert (said["ss_network_dim"], said["ss_network_alpha"], said["ss_steps"]) == ("16", "16", "500")
    assert said["ss_base_model_version"] == "flux1-dev"
    assert json.loads(said["ss_datasets"])[0]["subsets"][0]["class_tokens"] == "c4t"
    assert all(isinstance(value, str) for value in said.values())  # safetensors takes nothing else


def test_stamping_leaves_the_tensors_as_they_are(tmp_path: Path) -> None:
    source, target = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    tensors = {"x.lora_A.weight": numpy.arange(12, dtype="float32").reshape(3, 4)}
    save_file(tensors, source, metadata={"format": "pt", "modelspec.title": "old"})
    stamp(source, target, {"modelspec.title": "Grün 😀"})
    assert (load_file(target)["x.lora_A.weight"] == tensors["x.lora_A.weight"]).all()
    with safe_open(target, framework="numpy") as file:
        said = file.metadata()
    digest = hashlib.sha256(tensors["x.lora_A.weight"].tobytes()).hexdigest()
    assert said == {"format": "pt", "modelspec.title": "Grün 😀", "modelspec.hash_sha256": f"0x{digest}"}


@pytest.mark.parametrize("content", [b"", b"not a lora at all", b"\xff" * 64, (10).to_bytes(8, "little") + b"{" * 10])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(LoraRejected, match=r"a\.safetensors"):
        stamp(tmp_path / "a.safetensors", tmp_path / "b.safetensors", {})


def test_a_thumbnail_is_a_small_data_address(tmp_path: Path) -> None:
    Image.new("RGB", (1024, 512), "red").save(tmp_path / "a.webp")
    address = thumbnail_url(tmp_path / "a.webp")
    assert address.startswith("data:image/jpeg;base64,")
    assert len(address) < 20_000
