"""PNG files in the shape each tool documents, and hostile ones."""

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from backend.contract import LoraUse
from backend.errors import InvalidRequest
from backend.gallery.png_settings import NamedLora, PictureSettings, read_png, settings_in
from backend.gallery.recognition import recognise
from backend.loras.loras import LoraChoice
from backend.studio import load_base_models

A1111 = """masterpiece, a zorbot (metal:1.2), <lora:Zor-Bot:0.8>, blue
on two lines
Negative prompt: blurry,
ugly
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 965400086, Size: 512x768, Model hash: abc, Model: sdxl, \
Lora hashes: "Zor-Bot: 123, other: 456", Version: v1.9.3"""
FORGE = """<lora:Zorbot:1>, a zorbot
Steps: 20, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 12345, \
Size: 1024x768, Model hash: ee1e8c7c4a, Model: flux1-dev-fp8, Version: f2.0.1v1.10.1-previous-669-gdfdcbab6"""
SWARMUI = {"sui_image_params": {
    "prompt": "a harbour", "negativeprompt": "", "model": "Flux/flux1-dev-fp8.safetensors", "seed": 2042464333,
    "steps": 25, "cfgscale": 1.0, "fluxguidancescale": 4, "width": 512, "height": 768, "loras": ["my/zorbot"],
    "loraweights": ["0.5"], "swarm_version": "0.9.5.0"}, "sui_extra_data": {"date": "2026-11-01"}}  # fmt: skip
COMFYUI = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 18446744073709551615, "steps": 25, "cfg": 8.0,
          "sampler_name": "euler", "denoise": 1, "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0],
          "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "models/sdxl.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 640, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a purple bottle", "clip": ["10", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "watermark", "clip": ["10", 1]}},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "my\\zorbot.safetensors", "strength_model": 0.7,
           "strength_clip": 1, "model": ["4", 0], "clip": ["4", 1]}},
}  # fmt: skip
FLUX = {
    "1": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["2", 0], "guider": ["3", 0], "sampler": ["8", 0],
          "sigmas": ["4", 0], "latent_image": ["5", 0]}},
    "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 42}},
    "3": {"class_type": "BasicGuider", "inputs": {"model": ["9", 0], "conditioning": ["6", 0]}},
    "4": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 28, "model": ["9", 0]}},
    "5": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 1024}},
    "6": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["7", 0]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ["12", 0]}},
    "8": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "9": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
    "12": {"class_type": "PrimitiveString", "inputs": {"value": "a fox"}},
}  # fmt: skip
INVOKEAI = {
    "generation_mode": "txt2img", "positive_prompt": "a lighthouse", "negative_prompt": "fog", "width": 768,
    "height": 512, "seed": 77, "cfg_scale": 6.5, "steps": 30, "scheduler": "euler",
    "model": {"key": "k", "hash": "h", "name": "SDXL", "base": "sdxl", "type": "main"},
    "loras": [{"model": {"key": "k", "name": "zorbot", "base": "sdxl", "type": "lora"}, "weight": 0.75}],
    "app_version": "5.0.0",
}  # fmt: skip
INVOKEAI_FLUX = {
    "generation_mode": "flux_txt2img", "positive_prompt": "a pier", "width": 1024, "height": 768, "seed": 9,
    "cfg_scale": 1, "guidance": 4, "steps": 30, "model": {"name": "FLUX Dev", "base": "flux", "type": "main"},
}  # fmt: skip
OLD_INVOKEAI = {"model_weights": "sd-1.5", "image": {"prompt": [{"prompt": "a boat", "weight": 1}], "steps": 50,
                "cfg_scale": 7.5, "width": 512, "height": 512, "seed": 3}}  # fmt: skip


def png(path: Path, texts: dict[str, str], size: tuple[int, int] = (8, 8)) -> Path:
    information = PngInfo()
    for name, text in texts.items():
        information.add_itxt(name, text) if not text.isascii() else information.add_text(name, text)
    Image.new("RGB", size).save(path, pnginfo=information)
    return path


@pytest.mark.parametrize(
    ("chunk", "said", "made"),
    [
        ("parameters", A1111, PictureSettings(
            "AUTOMATIC1111", "masterpiece, a zorbot (metal:1.2), blue\non two lines", "blurry,\nugly", "sdxl",
            (NamedLora("Zor-Bot", 0.8),), 965400086, 20, 7.5, 512, 768)),
        ("parameters", FORGE, PictureSettings(
            "Forge", "a zorbot", "", "flux1-dev-fp8", (NamedLora("Zorbot", 1.0),), 12345, 20, 3.5, 1024, 768)),
        ("parameters", SWARMUI, PictureSettings(
            "SwarmUI", "a harbour", "", "flux1-dev-fp8", (NamedLora("zorbot", 0.5),), 2042464333, 25, 4.0, 512, 768)),
        ("invokeai_metadata", INVOKEAI_FLUX, PictureSettings(
            "InvokeAI", "a pier", "", "FLUX Dev", (), 9, 30, 4.0, 1024, 768)),
        ("prompt", COMFYUI, PictureSettings(
            "ComfyUI", "a purple bottle", "watermark", "sdxl", (NamedLora("zorbot", 0.7),), 2**64 - 1, 25, 8.0, 512,
            640)),
        ("prompt", FLUX, PictureSettings("ComfyUI", "a fox", "", "flux1-dev", (), 42, 28, 3.5, 1024, 1024)),
        ("invokeai_metadata", INVOKEAI, PictureSettings(
            "InvokeAI", "a lighthouse", "fog", "SDXL", (NamedLora("zorbot", 0.75),), 77, 30, 6.5, 768, 512)),
        ("sd-metadata", OLD_INVOKEAI, PictureSettings(
            "InvokeAI", "a boat", "", "sd-1.5", (), 3, 50, 7.5, 512, 512)),
    ],
    ids=["AUTOMATIC1111", "Forge", "SwarmUI", "InvokeAI with Flux", "ComfyUI", "ComfyUI with Flux", "InvokeAI",
         "InvokeAI 2"],
)  # fmt: skip
def test_each_tools_settings_are_read(tmp_path: Path, chunk: str, said: Any, made: PictureSettings) -> None:
    text = said if isinstance(said, str) else json.dumps(said)
    assert read_png(png(tmp_path / "made.png", {chunk: text, "workflow": "{}"})) == made


def test_our_own_pictures_are_known_as_ours() -> None:
    texts = {"parameters": "a café\nSteps: 4, Seed: 1", "XML:com.adobe.xmp": 'xmp:CreatorTool="LoRA Atelier"'}
    assert settings_in(texts) == PictureSettings("LoRA Atelier", "a café", seed=1, steps=4)


@pytest.mark.parametrize(
    "line",
    ["Steps: 0, Seed: -1, Size: 99999x1, CFG scale: nan", "Steps: 1e9, Seed: 99999999999999999999999, Size: 512",
     "Steps: 20" + ", A: " * 3000],
)  # fmt: skip
def test_impossible_values_are_not_believed(line: str) -> None:
    made = settings_in({"parameters": f"a boat\n{line}"})
    assert (made.prompt, made.seed, made.width, made.guidance) == ("a boat", None, None, None)


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"Software": "gimp"},
        {"prompt": "{" * 5000},
        {"prompt": "[" * 100_000},
        {"prompt": json.dumps({"1": {"class_type": "KSampler", "inputs": {"model": ["1", 0]}}})},
        {
            "prompt": json.dumps(
                {str(n): {"class_type": "KSampler", "inputs": {"model": ["0", 0]}} for n in range(9000)}
            )
        },
        {"invokeai_metadata": "[]"},
        {"sd-metadata": '{"image": 3}'},
    ],
)
def test_a_file_that_does_not_say_is_refused_in_words(tmp_path: Path, texts: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match="doesn't say how it was made"):
        read_png(png(tmp_path / "silent.png", texts))


def test_a_damaged_invokeai_text_leaves_the_others_to_be_read() -> None:
    assert settings_in({"invokeai_metadata": "{", "parameters": "a boat\nSteps: 4"}).prompt == "a boat"


def test_a_text_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    plain = png(tmp_path / "plain.png", {}).read_bytes()
    data = b"parameters\0\0" + zlib.compress(b"a" * 50_000_000)
    chunk = len(data).to_bytes(4, "big") + b"zTXt" + data + zlib.crc32(b"zTXt" + data).to_bytes(4, "big")
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(plain[:33] + chunk + plain[33:])

    with pytest.raises(InvalidRequest):
        read_png(bomb)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>"])
def test_what_is_no_png_is_refused_in_words(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.png"
    path.write_bytes(data)
    with pytest.raises(InvalidRequest, match="isn't a readable PNG"):
        read_png(path)


def test_what_is_named_and_here_is_recognised() -> None:
    key = "loras/ada/1/zor-bot.safetensors"
    lora = LoraChoice(key, "Zor Bot", "", "sdxl", "sdxl", "", None)
    settings = PictureSettings("ComfyUI", "x", model="SDXL", loras=(NamedLora("ZOR-bot", 0.5), NamedLora("far", 1)))

    found = recognise(settings, load_base_models().values(), [lora])

    assert found.base_model and found.base_model.id == "sdxl"
    assert (found.loras, found.missing) == ([LoraUse(key=key, strength=0.5)], ["far"])
    for name in ("flux1-dev-fp8", "flux1-dev-Q4_K_S", "flux1-dev-bnb-nf4-v2"):
        told = recognise(PictureSettings("ComfyUI", model=name), load_base_models().values(), [])
        assert told.base_model and told.base_model.id == "flux1-dev"
    assert recognise(PictureSettings("ComfyUI"), load_base_models().values(), []).base_model is None
