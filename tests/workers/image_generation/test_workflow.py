"""Workflows as data: what is asked lands in the right nodes, and a file that can't be used is refused in words."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.base_models import BASE_MODELS, load_base_model
from backend.contract import BaseModelSpec, GenerationRequest
from backend.errors import BaseModelRejected
from workers.image_generation.workflow import Asked, graph_of_request, render, workflow_of
from workers.image_generation.workflow_nodes import LoraName

ROOT = Path(__file__).parents[3]
OBJECT_INFO = json.loads((ROOT / "tests" / "data" / "comfyui_object_info.json").read_text())
SHIPPED = sorted(path.parent.name for path in BASE_MODELS.glob("*/workflow.json"))
ASKED = Asked("a cat", negative_prompt="a dog", seed=2**64 - 1, steps=7, guidance=2.5, width=832, height=1216)


def spec_with(workflow: dict[str, Any], **inputs: str) -> BaseModelSpec:
    spec = load_base_model("sdxl")
    return spec.model_copy(update={"id": "mine", "workflow": workflow, "workflow_inputs": inputs})


@pytest.fixture
def sdxl() -> dict[str, Any]:
    """A workflow without helpful titles."""
    workflow = copy.deepcopy(load_base_model("sdxl").workflow)
    for node in workflow.values():
        node["_meta"]["title"] = node["class_type"]
    return workflow


def inputs_of(graph: dict[str, Any], node_class: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in graph.values() if node["class_type"] == node_class]


def refusal(spec: BaseModelSpec) -> str:
    with pytest.raises(BaseModelRejected) as caught:
        render(spec, ASKED)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ shipped workflows


def test_the_models_that_comfyui_draws_have_a_workflow() -> None:
    assert {"flux1-dev", "flux1-schnell", "flux2-klein-4b", "sd35-large", "sdxl", "z-image-turbo"} <= set(SHIPPED)


@pytest.mark.parametrize("version", OBJECT_INFO)
@pytest.mark.parametrize("base_model", SHIPPED)
def test_every_node_has_the_inputs_that_comfyui_wants(base_model: str, version: str) -> None:
    spec = load_base_model(base_model)
    added = ASKED._replace(loras=[LoraName("a.safetensors", 1.0)], init_image="a.png", denoise=0.5)
    graph = render(spec, added).graph
    for node in graph.values():
        known = OBJECT_INFO[version][node["class_type"]]
        choices = {**known["required"], **known["optional"]}
        assert set(known["required"]) <= set(node["inputs"]) <= set(choices), node
        for name, value in node["inputs"].items():
            assert choices[name] is None or value in choices[name], (node, name)
    linked = {str(value[0]) for node in graph.values() for value in node["inputs"].values() if isinstance(value, list)}
    assert linked <= set(graph)


@pytest.mark.parametrize("base_model", SHIPPED)
def test_every_file_a_workflow_loads_is_declared_with_its_folder(base_model: str) -> None:
    spec = load_base_model(base_model)
    declared = {(file.folder, file.name or Path(file.file).name) for file in spec.weights.comfyui}
    folders = {"unet_name": "diffusion_models", "vae_name": "vae", "ckpt_name": "checkpoints"}
    loaded = {
        (folders.get(name, "text_encoders"), value)
        for node in spec.workflow.values()
        for name, value in node["inputs"].items()
        if isinstance(value, str) and value.endswith(".safetensors")
    }
    assert loaded == declared


@pytest.mark.parametrize("base_model", SHIPPED)
@pytest.mark.parametrize("by_title", [True, False])
def test_what_is_asked_lands_in_the_graph_with_or_without_titles(base_model: str, by_title: bool) -> None:
    spec = load_base_model(base_model)
    if not by_title:
        spec = spec.model_copy(update={"workflow_inputs": {}})
    rendered = render(spec, ASKED)
    values = [value for node in rendered.graph.values() for value in node["inputs"].values()]
    for asked in ("a cat", 2**64 - 1, 7):
        assert asked in values
    sized = [node["inputs"] for node in rendered.graph.values() if "width" in node["inputs"]]
    assert sized and all((inputs["width"], inputs["height"]) == (832, 1216) for inputs in sized)
    expected = set() if spec.negative_prompt else {"negative_prompt"}
    assert set(rendered.left_out) == expected | ({"guidance"} if base_model == "flux1-schnell" else set())
    assert rendered.sampler
    assert rendered.samplers


def test_a_graph_is_made_anew_each_time() -> None:
    spec = load_base_model("flux1-dev")
    before = copy.deepcopy(spec.workflow)
    render(spec, ASKED._replace(loras=[LoraName("a.safetensors", 1.0)]))
    assert spec.workflow == before


# ------------------------------------------------------------------------------------------------ LoRAs


@pytest.mark.parametrize("count", [0, 1, 8])
def test_loras_are_chained_between_the_loader_and_what_it_feeds(sdxl: dict[str, Any], count: int) -> None:
    loras = [LoraName(f"{index}.safetensors", 0.5) for index in range(count)]
    graph = render(spec_with(sdxl), ASKED._replace(loras=loras)).graph
    chain = inputs_of(graph, "LoraLoader")
    assert [inputs["lora_name"] for inputs in chain] == [lora.file for lora in loras]
    at = graph["3"]["inputs"]["model"][0]
    assert graph["6"]["inputs"]["clip"] == graph["7"]["inputs"]["clip"] == [at, 1]
    for lora in reversed(loras):
        assert graph[at]["inputs"]["lora_name"] == lora.file
        at = graph[at]["inputs"]["model"][0]
    assert graph[at]["class_type"] == "CheckpointLoaderSimple"
    assert graph["8"]["inputs"]["vae"] == ["4", 2]


def test_a_lora_of_no_strength_is_left_out(sdxl: dict[str, Any]) -> None:
    graph = render(spec_with(sdxl), ASKED._replace(loras=[LoraName("a.safetensors", 0.0)])).graph
    assert not inputs_of(graph, "LoraLoader")


def test_without_a_text_encoder_a_lora_changes_the_model_alone(sdxl: dict[str, Any]) -> None:
    for node in ("6", "7"):
        sdxl[node] = {"class_type": "SomeTextEncode", "inputs": {"text": node}}
    graph = render(spec_with(sdxl), ASKED._replace(loras=[LoraName("a.safetensors", 2.0)])).graph
    assert inputs_of(graph, "LoraLoaderModelOnly") == [
        {"model": ["4", 0], "lora_name": "a.safetensors", "strength_model": 2.0}
    ]


# ------------------------------------------------------------------------------------------------ from a picture

FROM_A_PICTURE = ASKED._replace(init_image="room.png", denoise=0.5)


@pytest.mark.parametrize("base_model", SHIPPED)
def test_a_picture_takes_the_place_of_the_empty_latent(base_model: str) -> None:
    rendered = render(load_base_model(base_model), FROM_A_PICTURE)
    graph = rendered.graph
    (decode,) = inputs_of(graph, "VAEDecode")
    encode = graph[graph[rendered.samplers[0]]["inputs"]["latent_image"][0]]
    assert (encode["class_type"], encode["inputs"]["vae"]) == ("VAEEncode", decode["vae"])
    assert graph[encode["inputs"]["pixels"][0]]["inputs"] == {"image": "room.png"}
    denoises = [node["inputs"]["denoise"] for node in graph.values() if "denoise" in node["inputs"]]
    assert denoises == [0.5]
    # A schedule that is cut is made longer: what remains of it are the steps asked for.
    steps = {inputs["steps"] for node in graph.values() if "steps" in (inputs := node["inputs"])}
    assert steps == ({14} if inputs_of(graph, "SplitSigmasDenoise") else {7})
    assert bool(inputs_of(graph, "SplitSigmasDenoise")) == (base_model == "flux2-klein-4b")


def test_as_many_pictures_start_from_it_as_are_asked_for(sdxl: dict[str, Any]) -> None:
    graph = render(spec_with(sdxl), FROM_A_PICTURE._replace(batch_size=3)).graph
    (repeat,) = inputs_of(graph, "RepeatLatentBatch")
    assert (repeat["amount"], graph[repeat["samples"][0]]["class_type"]) == (3, "VAEEncode")
    assert graph[graph["3"]["inputs"]["latent_image"][0]]["inputs"] is repeat


def test_a_workflow_that_loads_a_picture_of_its_own_is_given_this_one(sdxl: dict[str, Any]) -> None:
    sdxl["60"] = {"class_type": "LoadImage", "inputs": {"image": "old.png", "upload": "image"}}
    scale = {"image": ["60", 0], "upscale_method": "lanczos", "width": 64, "height": 64, "crop": "center"}
    sdxl["61"] = {"class_type": "ImageScale", "inputs": scale}
    sdxl["62"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["61", 0], "vae": ["4", 2]}}
    sdxl["3"]["inputs"]["latent_image"] = ["62", 0]
    graph = render(spec_with(sdxl), FROM_A_PICTURE).graph
    assert set(graph) == set(sdxl)
    assert graph["60"]["inputs"]["image"] == "room.png"
    assert (graph["61"]["inputs"]["width"], graph["3"]["inputs"]["denoise"]) == (832, 0.5)


def test_a_workflow_that_can_t_start_from_a_picture_says_so(sdxl: dict[str, Any]) -> None:
    del sdxl["3"]["inputs"]["denoise"]
    with pytest.raises(BaseModelRejected, match="its sampler has no 'denoise'"):
        render(spec_with(sdxl), FROM_A_PICTURE)
    sdxl["8"]["inputs"] = {"samples": ["3", 0]}
    with pytest.raises(BaseModelRejected, match="no latent or no VAE"):
        render(spec_with(sdxl), FROM_A_PICTURE)


# ------------------------------------------------------------------------------------------------ people's own files


def test_values_held_in_other_nodes_are_found(sdxl: dict[str, Any]) -> None:
    sdxl["3"]["inputs"]["seed"] = ["20", 0]
    sdxl["20"] = {"class_type": "PrimitiveInt", "inputs": {"value": 5}}
    sdxl["6"]["inputs"]["text"] = ["21", 0]
    sdxl["21"] = {"class_type": "StringPrimitive", "inputs": {"string": "old"}}
    graph = render(spec_with(sdxl), ASKED).graph
    assert graph["20"]["inputs"]["value"] == 2**64 - 1
    assert graph["21"]["inputs"]["string"] == "a cat"


def test_both_texts_of_sdxl_are_one_prompt(sdxl: dict[str, Any]) -> None:
    size = {"width": 1, "height": 1, "target_width": 1, "target_height": 1, "crop_w": 0, "crop_h": 0}
    sdxl["6"] = {"class_type": "CLIPTextEncodeSDXL", "inputs": {"text_g": "", "text_l": "", "clip": ["4", 1], **size}}
    graph = render(spec_with(sdxl), ASKED).graph
    assert graph["6"]["inputs"]["text_g"] == graph["6"]["inputs"]["text_l"] == "a cat"
    assert graph["6"]["inputs"]["width"] == 832


def test_the_first_of_two_passes_takes_what_is_asked(sdxl: dict[str, Any]) -> None:
    sdxl["30"] = copy.deepcopy(sdxl["3"])
    sdxl["30"]["inputs"]["latent_image"] = ["3", 0]
    sdxl["8"]["inputs"]["samples"] = ["30", 0]
    graph = render(spec_with(sdxl), ASKED).graph
    assert (graph["3"]["inputs"]["steps"], graph["30"]["inputs"]["steps"]) == (7, 30)


def test_a_refiner_is_told_the_same_and_takes_over_at_the_same_part(sdxl: dict[str, Any]) -> None:
    for node in ("3", "30"):
        sdxl[node] = copy.deepcopy(sdxl["3"]) | {"class_type": "KSamplerAdvanced"}
        sdxl[node]["inputs"] |= {"noise_seed": 0, "steps": 25, "start_at_step": 0, "end_at_step": 10000}
    sdxl["3"]["inputs"]["end_at_step"] = sdxl["30"]["inputs"]["start_at_step"] = 20
    sdxl["6"]["inputs"]["text"] = sdxl["7"]["inputs"]["text"] = ""
    for node, text in (("15", "old"), ("16", "text, watermark")):
        sdxl[node] = {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["4", 1]}}
    sdxl["6"]["inputs"]["text"] = "old"
    sdxl["30"]["inputs"] |= {"latent_image": ["3", 0], "positive": ["15", 0], "negative": ["16", 0]}
    sdxl["8"]["inputs"]["samples"] = ["30", 0]
    graph = render(spec_with(sdxl), ASKED._replace(steps=50)).graph
    assert [graph[node]["inputs"]["text"] for node in ("6", "7", "15", "16")] == [
        "a cat", "a dog", "a cat", "text, watermark"
    ]  # fmt: skip
    stages = [graph[node]["inputs"] for node in ("3", "30")]
    assert [(stage["steps"], stage["start_at_step"], stage["end_at_step"]) for stage in stages] == [
        (50, 0, 40),
        (50, 40, 10000),
    ]


def test_a_picture_of_the_author_s_is_refused_unless_it_is_the_one_to_start_from(sdxl: dict[str, Any]) -> None:
    sdxl["60"] = {"class_type": "LoadImage", "inputs": {"image": "pose.png"}, "_meta": {"title": "Pose"}}
    sdxl["40"] = {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["6", 0], "negative": ["7", 0]}}
    sdxl["40"]["inputs"]["image"] = ["60", 0]
    sdxl["3"]["inputs"] |= {"positive": ["40", 0], "negative": ["40", 1]}
    assert "loads 'pose.png' in its node 'Pose'; a worker has no such picture" in refusal(spec_with(sdxl))
    named = spec_with(sdxl, init_image="Pose.image")
    assert render(named, FROM_A_PICTURE).graph["60"]["inputs"]["image"] == "room.png"
    assert "starts from a picture, and none was given" in refusal(named)


def test_the_file_s_name_is_ours_whatever_the_workflow_puts_together_there(sdxl: dict[str, Any]) -> None:
    sdxl["70"] = {"class_type": "StringConcatenate", "inputs": {"string_a": "a", "string_b": "b", "delimiter": "-"}}
    sdxl["9"]["inputs"]["filename_prefix"] = ["70", 0]
    assert render(spec_with(sdxl), ASKED).graph["9"]["inputs"]["filename_prefix"] == "atelier"


def test_a_workflow_that_draws_nothing_is_refused(sdxl: dict[str, Any]) -> None:
    sdxl["3"] = {"class_type": "UpscaleSomething", "inputs": {"image": ["5", 0]}}
    assert "no sampler leads to SaveImage, so nothing there draws from a prompt" in refusal(spec_with(sdxl))


@pytest.mark.parametrize("title", [5, ["a"], {"b": 1}, None])
def test_odd_titles_and_values_are_no_trouble(sdxl: dict[str, Any], title: Any) -> None:
    sdxl["6"] |= {"_meta": title}
    sdxl["3"]["inputs"] |= {"steps": [1, 2, 3], "start_at_step": "x"}
    sdxl["6"]["inputs"]["text"] = {"a": [1]}
    assert render(spec_with(sdxl), ASKED).graph["3"]["inputs"]["steps"] == 7


def test_prompts_are_told_apart_behind_a_controlnet(sdxl: dict[str, Any]) -> None:
    sdxl["40"] = {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["6", 0], "negative": ["7", 0]}}
    sdxl["3"]["inputs"] |= {"positive": ["40", 0], "negative": ["40", 1]}
    graph = render(spec_with(sdxl), ASKED).graph
    assert (graph["6"]["inputs"]["text"], graph["7"]["inputs"]["text"]) == ("a cat", "a dog")


def test_a_file_of_the_editor_is_refused() -> None:
    assert "mine/workflow.json is in the format of ComfyUI's editor" in refusal(spec_with({"nodes": [], "links": []}))


def test_no_saveimage_is_refused(sdxl: dict[str, Any]) -> None:
    sdxl["9"]["class_type"] = "PreviewImage"
    assert "mine/workflow.json has no SaveImage node" in refusal(spec_with(sdxl))


def test_two_possible_prompts_are_refused_until_one_is_named(sdxl: dict[str, Any]) -> None:
    sdxl["50"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "in style", "clip": ["4", 1]}}
    sdxl["50"]["_meta"] = {"title": "Style"}
    sdxl["51"] = {
        "class_type": "ConditioningCombine",
        "inputs": {"conditioning_1": ["6", 0], "conditioning_2": ["50", 0]},
    }
    sdxl["3"]["inputs"]["positive"] = ["51", 0]
    assert "two possible prompts, 'Style' and 'CLIPTextEncode'" in refusal(spec_with(sdxl))
    graph = render(spec_with(sdxl, prompt="Style.text"), ASKED).graph
    assert (graph["50"]["inputs"]["text"], graph["6"]["inputs"]["text"]) == ("a cat", "")


@pytest.mark.parametrize(
    ("field", "target", "said"),
    [
        ("prompt", "Promt.text", "'workflow_inputs.prompt' is 'Promt.text', but no node has the title 'Promt'"),
        ("prompt", "CLIPTextEncode.text", "2 nodes have the title 'CLIPTextEncode'"),
        ("seed", "KSampler.sede", "the node 'KSampler' has no input 'sede'. It has: seed, steps"),
        ("seed", "KSampler.model", "another node feeds that input"),
        ("promt", "KSampler.seed", "'workflow_inputs.promt' is not an input of a workflow"),
    ],
)
def test_a_binding_that_fits_not_exactly_one_input_is_named(
    sdxl: dict[str, Any], field: str, target: str, said: str
) -> None:
    message = refusal(spec_with(sdxl, **{field: target}))
    assert message.startswith("mine/model.toml")
    assert said in message


def test_a_workflow_that_leads_nowhere_is_refused(sdxl: dict[str, Any]) -> None:
    del sdxl["5"]
    assert "'3.latent_image' leads to the node '5', which is not there" in refusal(spec_with(sdxl))
    assert "There is no mine/workflow.json" in refusal(spec_with({}))


# ------------------------------------------------------------------------------------------------ requests


def test_a_request_may_carry_its_own_workflow(sdxl: dict[str, Any]) -> None:
    sdxl["3"]["inputs"]["sampler_name"] = "ddim"
    request = GenerationRequest(prompt="a cat", workflow=sdxl, seed=3)
    spec = load_base_model("flux1-dev")
    assert workflow_of(GenerationRequest(prompt="a cat"), spec) is spec
    graph = graph_of_request(request, spec)
    assert (graph["3"]["inputs"]["sampler_name"], graph["3"]["inputs"]["seed"]) == ("ddim", 3)
    del sdxl["9"]
    with pytest.raises(BaseModelRejected, match="The request's workflow has no SaveImage node"):
        workflow_of(GenerationRequest(prompt="a cat", workflow=sdxl), spec)


def test_the_graph_of_a_request_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"prompt": "a cat", "base_model": "sdxl", "lora_key": "loras/a/b/knit.safetensors"}))
    command = [sys.executable, "-m", "workers.image_generation.workflow", str(path)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert inputs_of(json.loads(printed), "LoraLoader")[0]["lora_name"] == "knit.safetensors"
