"""What ai-toolkit is told: whole configurations, its own names for things, and what memory decides."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.base_models import load_base_model, load_base_models
from backend.contract import BaseModelSpec, TrainingRequest
from backend.errors import BaseModelRejected, InvalidRequest
from backend.toolkit_config import (
    KNOWN_KEYS,
    ToolkitJob,
    config_text,
    harmless,
    job_name,
    keys_in,
    leaner,
    toolkit_block,
    toolkit_config,
    unknown_keys,
)

DATA = Path(__file__).parents[1] / "data"
KEYS = {line for line in KNOWN_KEYS.read_text().splitlines() if not line.startswith("#")}
TRAINABLE = [spec for spec in load_base_models().values() if spec.ai_toolkit]


def job_for(spec: BaseModelSpec, **asked: Any) -> ToolkitJob:
    request = TrainingRequest(base_model=spec, lora_name="Mine", dataset_key="a.zip", trigger_word="p3r5on", **asked)
    return ToolkitJob(
        spec=spec,
        settings=request.settings_for(spec),
        prompts=request.prompts_for(spec),
        model=Path("/runpod-volume/model"),
        folder=Path("/work/output/toolkit"),
        name=job_name("mine"),
    )


def process_of(spec: BaseModelSpec, gpu_memory_gb: float = 24, **asked: Any) -> dict[str, Any]:
    process: dict[str, Any] = toolkit_config(job_for(spec, **asked), gpu_memory_gb)["config"]["process"][0]
    return process


def keys_of(process: dict[str, Any]) -> set[str]:
    """Return every key as section.key, as the list of ai-toolkit's own has them."""
    return {f"process.{key}" for key in process} | keys_in(process)


@pytest.mark.parametrize("gpu_memory_gb", [24, 48])
def test_flux_is_rendered_to_the_letter(gpu_memory_gb: int) -> None:
    golden = json.loads((DATA / f"ai_toolkit_flux1-dev_{gpu_memory_gb}gb.json").read_text())
    assert toolkit_config(job_for(load_base_model("flux1-dev")), gpu_memory_gb) == golden


@pytest.mark.parametrize("spec", TRAINABLE, ids=lambda spec: spec.id)
@pytest.mark.parametrize("gpu_memory_gb", [0, 16, 24, 48, 80])
def test_ai_toolkit_knows_every_key(spec: BaseModelSpec, gpu_memory_gb: float) -> None:
    assert keys_of(process_of(spec, gpu_memory_gb)) <= KEYS


def test_a_misspelt_key_is_found() -> None:
    flux = load_base_model("flux1-dev")
    misspelt = copy.deepcopy(flux.ai_toolkit)
    misspelt["train"] |= {"timestep_tipe": "sigmoid", "ema_config": {"use_emma": True}, "optimizer_params": {"any": 1}}
    misspelt["dataset"] = {"folder": "x"}
    found = unknown_keys(flux.model_copy(update={"ai_toolkit": misspelt}))
    assert found == ["datasets.folder", "train.ema_config.use_emma", "train.timestep_tipe"]


def test_a_base_model_may_say_how_coarsely_it_is_quantised() -> None:
    flux = load_base_model("flux1-dev")
    coarse = {**flux.ai_toolkit, "model": {"arch": "qwen_image", "qtype": "uint3|somebody/adapters/three.safetensors"}}
    spec = flux.model_copy(update={"ai_toolkit": coarse})
    assert process_of(spec, 24)["model"]["qtype"] == "uint3|somebody/adapters/three.safetensors"
    assert process_of(flux, 24)["model"]["qtype"] == "qfloat8"


def test_the_declared_models_are_all_there() -> None:
    assert {"flux1-dev", "flux1-schnell", "sdxl", "sd35-large", "flux2-klein-4b", "z-image-turbo"} <= {
        spec.id for spec in TRAINABLE
    }


@pytest.mark.parametrize(
    ("gpu_memory_gb", "averaged"), [(16, False), (24, False), (39.9, False), (40, True), (80, True)]
)
def test_weights_are_averaged_from_40_gb(gpu_memory_gb: float, averaged: bool) -> None:
    for spec in TRAINABLE:
        assert process_of(spec, gpu_memory_gb)["train"]["ema_config"]["use_ema"] is averaged


def test_memory_decides_and_the_request_overrides() -> None:
    flux = load_base_model("flux1-dev")
    small, large = process_of(flux, 24), process_of(flux, 80)
    assert small["model"]["low_vram"] and small["model"]["quantize"] and small["train"]["cache_text_embeddings"]
    assert not (large["model"]["low_vram"] or large["model"]["quantize"] or large["train"]["cache_text_embeddings"])
    asked = process_of(flux, 24, low_vram=False, quantize=False, cache_text_embeddings=False, ema=True)
    assert not (asked["model"]["low_vram"] or asked["model"]["quantize"] or asked["train"]["cache_text_embeddings"])
    assert asked["train"]["ema_config"]["use_ema"]
    assert process_of(flux, 80, low_vram=True)["model"]["low_vram"]


@pytest.mark.parametrize(("saving", "section"), [("quantize", "model"), ("cache_text_embeddings", "train")])
def test_a_saving_that_sdxl_can_t_make_is_never_made(saving: str, section: str) -> None:
    sdxl = load_base_model("sdxl")
    assert not process_of(sdxl, 8)[section][saving]
    assert not getattr(leaner(sdxl.training, toolkit_block(sdxl).memory), saving)
    with pytest.raises(InvalidRequest, match=f"'{saving}' is on, but ai-toolkit can't do that"):
        process_of(sdxl, 8, **{saving: True})


def test_the_request_wins_over_the_base_models_block() -> None:
    flux = load_base_model("flux1-dev")
    cheeky = flux.model_copy(update={"ai_toolkit": {**flux.ai_toolkit, "train": {"steps": 9, "lr": 1.0, "dtype": "x"}}})
    train = process_of(cheeky, steps=123, learning_rate=2e-4)["train"]
    assert (train["steps"], train["lr"], train["dtype"]) == (123, 2e-4, "bf16")


def test_a_second_try_takes_less() -> None:
    flux = load_base_model("flux1-dev")
    lean = leaner(flux.training.model_copy(update={"batch_size": 4}), toolkit_block(flux).memory)
    assert (lean.resolution, lean.batch_size, lean.low_vram, lean.ema) == ([512, 768], 2, True, False)
    assert leaner(lean.model_copy(update={"resolution": [512]}), toolkit_block(flux).memory).resolution == [384]


@pytest.mark.parametrize(
    ("hostile", "safe"),
    [
        ("${HF_TOKEN}", "$ {HF_TOKEN}"),
        ("--w 4096 a cat", "—w 4096 a cat"),
        ("a cat --n bad", "a cat —n bad"),
        ("[name] and [trigger]", "name and trigger"),
        ("[[name]] [[trigger]", "name trigger"),
        ("$[name]{X}", "$name{X}"),
        ("-[name]-", "-name-"),
        ("$$${A}", "$$$ {A}"),
        ("----", "—"),
        ("a well-known cat for $5, {soft}", "a well-known cat for $5, {soft}"),
    ],
)
def test_prompts_and_captions_are_only_words(hostile: str, safe: str) -> None:
    cleaned = harmless(hostile)
    assert cleaned == safe
    assert "${" not in cleaned and "--" not in cleaned and "[name]" not in cleaned and "[trigger]" not in cleaned


def test_no_hostile_prompt_reaches_the_configuration() -> None:
    prompts = ["${R2_SECRET_ACCESS_KEY}", "--w 9999", "[name]"]
    written = json.dumps(process_of(load_base_model("flux1-dev"), sample_prompts=prompts))
    assert "${" not in written and "--" not in written and "[name]" not in written


def test_a_block_with_a_mistake_is_refused_by_name() -> None:
    flux = load_base_model("flux1-dev")
    with pytest.raises(BaseModelRejected, match=r"flux1-dev/model\.toml.*'modle'"):
        toolkit_block(flux.model_copy(update={"ai_toolkit": {"model": {"arch": "flux"}, "modle": {}}}))
    with pytest.raises(BaseModelRejected, match=r"Tiny FLUX can't be trained with ai-toolkit.*no \[ai_toolkit\]"):
        toolkit_block(load_base_model("tiny-flux"))


def test_a_request_is_shown_as_yaml_before_it_runs() -> None:
    request = TrainingRequest(base_model=load_base_model("sdxl"), lora_name="Zoë [name]", dataset_key="a.zip", rank=32)
    shown = yaml.safe_load(config_text(request, 16))
    assert shown["config"]["name"] == "lora_Zo-name"
    assert shown["config"]["process"][0]["network"] == {"type": "lora", "linear": 32, "linear_alpha": 32}
    with pytest.raises(BaseModelRejected, match="has no"):
        config_text(request.model_copy(update={"base_model": "tiny-flux"}), 16)
