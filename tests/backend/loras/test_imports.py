"""What LoRA files from other trainers are taken for."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from safetensors.numpy import save_file

from backend.base_models import load_base_models
from backend.errors import InvalidRequest, LoraRejected
from backend.lora_files import LoraHeader, Tensor
from backend.loras.families import base_model_of, rank_of
from backend.loras.imports import describe_file, name_in, steps_in, trigger_in
from backend.pictures import Limits

SPECS = list(load_base_models().values())
LIMITS = Limits(10, 10**8, 10**8, 10**7)


def header(layer: str, inputs: int, outputs: int, rank: int = 16, spelt: str = "lora_A", **said: str) -> LoraHeader:
    other = {"lora_A": "lora_B", "lora_down": "lora_up", "lora.down": "lora.up"}[spelt]
    tensors: dict[str, Tensor] = {
        f"{layer}.{spelt}.weight": {"dtype": "F16", "shape": [rank, inputs], "data_offsets": (0, 1)},
        f"{layer}.{other}.weight": {"dtype": "F16", "shape": [outputs, rank], "data_offsets": (0, 1)},
        f"{layer}.alpha": {"dtype": "F16", "shape": [], "data_offsets": (0, 1)},
    }
    return LoraHeader(tensors, said, 0)


@pytest.mark.parametrize(
    ("layer", "inputs", "outputs", "spelt", "base_model"),
    [
        ("transformer.transformer_blocks.0.attn.to_q", 3072, 3072, "lora_A", "flux1-dev"),
        ("lora_unet_double_blocks_0_img_attn_qkv", 3072, 9216, "lora_down", "flux1-dev"),
        ("diffusion_model.single_blocks.3.linear1", 3072, 21504, "lora_A", "flux1-dev"),
        ("diffusion_model.single_blocks.3.linear1", 3072, 27648, "lora_A", "flux2-klein-4b"),
        ("transformer.single_transformer_blocks.3.attn.to_qkv_mlp_proj", 3072, 27648, "lora_A", "flux2-klein-4b"),
        ("base_model.model.single_transformer_blocks.0.attn.to_q", 256, 256, "lora_A", "tiny-flux"),
        ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k", 2048, 640, "lora_down", "sdxl"),
        ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", 2048, 640, "lora.down", "sdxl"),
        ("transformer.transformer_blocks.0.attn.to_q", 2432, 2432, "lora_A", "sd35-large"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv", 2432, 7296, "lora_down", "sd35-large"),
        ("diffusion_model.layers.0.attention.to_q", 3840, 3840, "lora_A", "z-image-turbo"),
    ],
)
def test_the_base_model_is_told_by_the_layers(
    layer: str, inputs: int, outputs: int, spelt: str, base_model: str
) -> None:
    found = header(layer, inputs, outputs, spelt=spelt)
    assert base_model_of(found, SPECS, "x").id == base_model
    assert rank_of(found) == 16


def test_of_two_base_models_alike_the_file_says_which() -> None:
    layer = ("transformer.transformer_blocks.0.attn.to_q", 3072, 3072)
    assert base_model_of(header(*layer, ss_base_model_version="flux1-schnell"), SPECS, "x").id == "flux1-schnell"
    said = {"ss_sd_model_name": "black-forest-labs/FLUX.1-schnell"}
    assert base_model_of(header(*layer, **said), SPECS, "x").id == "flux1-schnell"


@pytest.mark.parametrize(
    ("layer", "inputs", "said"),
    [
        ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k", 768, "Stable Diffusion 1.5"),
        ("transformer.transformer_blocks.0.attn.to_q", 1536, "Stable Diffusion 3 or 3.5 Medium"),
        ("diffusion_model.blocks.0.self_attn.q", 5120, "Wan"),
        ("transformer_blocks.0.img_mlp.net.2", 12288, "Qwen-Image"),
        ("something.else", 77, "a base model that this studio doesn't know. Its first layer is 'something_else', 77"),
    ],
)
def test_a_lora_for_a_base_model_that_is_not_here_is_refused_in_words(layer: str, inputs: int, said: str) -> None:
    with pytest.raises(LoraRejected, match=said):
        base_model_of(header(layer, inputs, inputs), SPECS, "x")


def test_a_new_kind_of_base_model_goes_by_what_the_file_says() -> None:
    own = SPECS[0].model_copy(update={"id": "my-model", "architecture": "my-architecture"})
    found = header("blocks.0.mine", 9, 9, ss_base_model_version="my-model")
    assert base_model_of(found, [*SPECS, own], "x").id == "my-model"


@pytest.mark.parametrize(
    ("said", "trigger"),
    [
        ({"modelspec.trigger_phrase": " zorbot\n"}, "zorbot"),
        (
            {"ss_datasets": json.dumps([{"subsets": [{"class_tokens": None}, {"class_tokens": "ohwx man"}]}])},
            "ohwx man",
        ),
        ({"ss_dataset_dirs": json.dumps({"10_ohwx man": {"n_repeats": 10}})}, "ohwx man"),
        ({"ss_tag_frequency": json.dumps({"1_p3r5on": {"p3r5on": 1}}), "software": "{}"}, "p3r5on"),
        ({"ss_datasets": "[" * 100_000}, ""),
        ({"ss_datasets": '{"a": 1}', "ss_dataset_dirs": "[1]", "ss_tag_frequency": "no"}, ""),
        ({"trigger_word": "x" * 5000}, "x" * 100),
        ({}, ""),
    ],
)
def test_the_trigger_word_is_found_where_trainers_put_it(said: dict[str, str], trigger: str) -> None:
    assert trigger_in(said) == trigger


def test_the_name_is_one_that_a_lora_can_have() -> None:
    assert name_in({"modelspec.title": "a/b <script>"}, "stem") == "a b script"
    assert name_in({"ss_output_name": "  "}, "x" * 200) == "x" * 80
    assert name_in({}, "...") == "Imported LoRA"


def test_steps_are_a_number_or_nothing() -> None:
    assert steps_in({"ss_steps": "1200"}) == 1200
    assert steps_in({"training_info": '{"step": 500}'}) == 500
    assert steps_in({"ss_steps": "١٢", "training_info": '{"step": "many"}'}) is None
    assert steps_in({"ss_steps": "9" * 5000}) is None


def lora(path: Path, **said: Any) -> Path:
    layer = "transformer.single_transformer_blocks.0.attn.to_q"
    tensors = {f"{layer}.lora_A.weight": numpy.zeros((4, 256)), f"{layer}.lora_B.weight": numpy.zeros((256, 4))}
    save_file({name: each.astype("float32") for name, each in tensors.items()}, path, metadata=said)
    return path


def test_a_file_is_described_with_the_picture_it_brings(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (128, 128), "red").save(picture, "JPEG")
    address = f"data:image/jpeg;base64,{base64.b64encode(picture.getvalue()).decode()}"
    found = describe_file(lora(tmp_path / "f", **{"modelspec.thumbnail": address}), "a/Bot.safetensors", SPECS, LIMITS)
    assert (found.name, found.base_model.id, found.rank) == ("Bot", "tiny-flux", 4)
    assert Image.open(io.BytesIO(found.thumb or b"")).format == "WEBP"


@pytest.mark.parametrize(
    "thumbnail", ["", "http://else.where/x.png", "data:image/png;base64,????", "data:image/png;base64,aaaa"]
)
def test_a_picture_that_is_none_is_left_out(tmp_path: Path, thumbnail: str) -> None:
    path = lora(tmp_path / "f", **{"modelspec.thumbnail": thumbnail})
    assert describe_file(path, "x.safetensors", SPECS, LIMITS).thumb is None


def test_another_kind_of_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"x\.ckpt isn't a \.safetensors file"):
        describe_file(lora(tmp_path / "f"), "x.ckpt", SPECS, LIMITS)
