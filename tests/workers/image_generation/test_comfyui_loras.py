"""LoRA files as ComfyUI gets them: linked where it reads them, rewritten where it would pass over them in silence."""

import json
import os
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.workers.image_generation.conftest import lora_tensors
from workers.image_generation.engines import LoraInUse
from workers.image_generation.engines import comfyui_loras as placing

HASH = "a" * 64


def lora(folder: Path, tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> LoraInUse:
    path = folder / "source.safetensors"
    save_file(tensors, path, metadata=metadata)
    return LoraInUse(path=path, name="knit", content_hash=HASH, strength=1.0)


def placed(tmp_path: Path, use: LoraInUse) -> Path:
    name = placing.place_lora(use, tmp_path / "loras")
    assert name == f"{HASH}.safetensors"
    return tmp_path / "loras" / name


def test_a_file_that_comfyui_understands_is_linked(tmp_path: Path) -> None:
    use = lora(tmp_path, lora_tensors())
    assert placed(tmp_path, use).readlink() == use.path.resolve()


def test_raw_peft_is_renamed_and_its_bytes_stay(tmp_path: Path) -> None:
    before = lora_tensors(prefix="base_model.model.")
    file = placed(tmp_path, lora(tmp_path, before, {"format": "pt"}))
    assert not file.is_symlink()
    after = load_file(file)
    assert set(after) == {name.replace("base_model.model.", "transformer.") for name in before}
    for name, tensor in before.items():
        assert numpy.array_equal(after[name.replace("base_model.model.", "transformer.")], tensor)
    with safe_open(file, "numpy") as opened:
        assert opened.metadata() == {"format": "pt"}


@pytest.mark.parametrize("prefix", ["base_model.model.", "unet.", ""])
def test_the_layers_of_a_unet_get_the_names_that_comfyui_knows(tmp_path: Path, prefix: str) -> None:
    tensors = {
        f"{prefix}down_blocks.1.attn1.to_out.0.lora_A.weight": numpy.ones((4, 8), "float32"),
        f"{prefix}mid_block.ff.net.0.proj.lora.up.weight": numpy.ones((8, 4), "float32"),
        f"{prefix}up_blocks.0.attn2.processor.to_q_lora.up.weight": numpy.ones((8, 4), "float32"),
        "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight": numpy.ones((4, 8), "float32"),
    }
    if prefix == "base_model.model.":
        del tensors["base_model.model.up_blocks.0.attn2.processor.to_q_lora.up.weight"]  # PEFT writes no such thing
    declared = {"unet.r": 4, "unet.lora_alpha": 8} if prefix == "unet." else {"r": 4, "lora_alpha": 8}
    metadata = {"lora_adapter_metadata": json.dumps(declared)} if prefix else None
    after = load_file(placed(tmp_path, lora(tmp_path, tensors, metadata)))
    assert {name for name in after if not name.endswith(".alpha")} == {
        "lora_unet_down_blocks_1_attn1_to_out_0.lora_A.weight",
        "lora_unet_mid_block_ff_net_0_proj.lora.up.weight",
        "text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight",
        *(name for name in tensors if ".processor." in name),
    }
    if prefix:
        assert float(after["lora_unet_down_blocks_1_attn1_to_out_0.alpha"]) == 8


@pytest.mark.parametrize("prefix", ["transformer.", "base_model.model."])
def test_alphas_in_the_metadata_become_tensors(tmp_path: Path, prefix: str) -> None:
    config = {"r": 4, "lora_alpha": 2, "alpha_pattern": {"single_transformer_blocks.0.attn.to_k": 8}}
    component = "transformer." if prefix == "transformer." else ""
    declared = json.dumps({f"{component}{name}": value for name, value in config.items()})
    after = load_file(
        placed(tmp_path, lora(tmp_path, lora_tensors(prefix=prefix), {"lora_adapter_metadata": declared}))
    )
    alphas = {name.split(".")[-2]: float(value) for name, value in after.items() if name.endswith(".alpha")}
    assert alphas == {"to_q": 2.0, "to_k": 8.0, "to_v": 2.0}
    assert all(name.startswith("transformer.") for name in after)


def test_alphas_that_are_there_are_believed(tmp_path: Path) -> None:
    tensors = lora_tensors()
    for name in [name for name in tensors if name.endswith("lora_A.weight")]:
        tensors[name.replace("lora_A.weight", "alpha")] = numpy.array(1, "float32")
    declared = json.dumps({"transformer.r": 4, "transformer.lora_alpha": 2})
    assert placed(tmp_path, lora(tmp_path, tensors, {"lora_adapter_metadata": declared})).is_symlink()


def test_what_is_there_is_never_written_again(tmp_path: Path) -> None:
    use = lora(tmp_path, lora_tensors(prefix="base_model.model."))
    before = placed(tmp_path, use).stat()
    after = placed(tmp_path, use).stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)


def test_a_link_to_a_file_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    use = lora(tmp_path, lora_tensors())
    file = placed(tmp_path, use)
    use.path.rename(tmp_path / "moved.safetensors")
    moved = use.model_copy(update={"path": tmp_path / "moved.safetensors"})
    assert not file.exists()
    assert placed(tmp_path, moved).exists()


def test_the_oldest_of_ours_make_room_and_others_stay(tmp_path: Path) -> None:
    for index in range(placing.KEPT + 3):
        path = tmp_path / f"{index:064x}.safetensors"
        path.touch()
        os.utime(path, (index, index))
    (tmp_path / "mine.safetensors").touch()
    placing.tidy(tmp_path, keep=[f"{0:064x}.safetensors"])
    left = sorted(path.name for path in tmp_path.iterdir())
    assert "mine.safetensors" in left
    assert f"{0:064x}.safetensors" in left
    assert f"{2:064x}.safetensors" not in left
    assert len(left) == placing.KEPT + 2
