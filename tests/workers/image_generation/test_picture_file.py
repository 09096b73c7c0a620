"""What other tools read in our pictures."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image
from safetensors.numpy import save_file

from backend.contract import OutputFormat
from tests.workers.image_generation.conftest import lora_tensors
from workers.image_generation.loras import tensor_hash
from workers.image_generation.picture_file import LoraNote, Recipe, encode_picture, model_hash, parameters_text

RECIPE = Recipe(
    prompt="a cat, sitting",
    negative_prompt="",
    steps=20,
    sampler="Euler",
    guidance=3.5,
    seed=2**64 - 1,
    width=128,
    height=96,
    model="tiny-flux",
    model_hash="0123456789abcdef" * 4,
    loras=(),
)


def settings_in(text: str) -> dict[str, str]:
    """The last line as AUTOMATIC1111 reads it (infotext_utils.py, re_param)."""
    pattern = r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)'
    return {key: value.strip('"') for key, value in re.findall(pattern, text.splitlines()[-1])}


def test_the_text_is_what_a1111_writes() -> None:
    assert parameters_text(RECIPE) == (
        "a cat, sitting\nSteps: 20, Sampler: Euler, CFG scale: 3.5, Seed: 18446744073709551615, Size: 128x96, "
        "Model hash: 0123456789, Model: tiny-flux"
    )


def test_loras_stand_in_the_prompt_and_their_hashes_behind() -> None:
    loras = [LoraNote("my robot", 0.8, "ab" * 32), LoraNote("toon", -1, "cd" * 32)]
    text = parameters_text(RECIPE._replace(negative_prompt="blur", loras=loras))
    prompt, negative, _ = text.split("\n")
    assert prompt == "a cat, sitting <lora:my-robot:0.8> <lora:toon:-1>"
    assert negative == "Negative prompt: blur"
    assert settings_in(text)["Lora hashes"] == "my-robot: abababababab, toon: cdcdcdcdcdcd"
    assert settings_in(text)["CFG scale"] == "3.5"


def test_a_png_carries_its_text_and_the_mark_of_ai_media(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "0.bmp")
    text = parameters_text(RECIPE._replace(prompt="ein Löwe 🦁\non grass"))
    (tmp_path / "0.png").write_bytes(encode_picture(tmp_path / "0.bmp", {"parameters": text}, "png", 90))
    with Image.open(tmp_path / "0.png") as image:
        assert image.info["parameters"] == text
        assert "digitalsourcetype/trainedAlgorithmicMedia" in image.info["XML:com.adobe.xmp"]
        assert image.getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_smaller_files_carry_the_same_where_it_is_looked_for(tmp_path: Path, output_format: OutputFormat) -> None:
    Image.effect_mandelbrot((96, 96), (-2, -1.5, 1, 1.5), 20).save(tmp_path / "0.bmp")
    texts = {"parameters": parameters_text(RECIPE._replace(prompt="ein Löwe 🦁")), "prompt": '{"3": {}}'}
    good, poor = (encode_picture(tmp_path / "0.bmp", texts, output_format, quality) for quality in (95, 20))
    assert len(poor) < len(good)
    with Image.open(io.BytesIO(good)) as image:
        assert image.format == output_format.upper()
        assert b"digitalsourcetype/trainedAlgorithmicMedia" in image.info["xmp"]
        exif = image.getexif()
        comment = exif.get_ifd(0x8769)[0x9286]
    # As A1111 writes and reads it (piexif's UserComment).
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be") == texts["parameters"]
    assert exif.get(0x0110, "") == ('prompt:{"3": {}}' if output_format == "webp" else "")


def test_a_lora_keeps_its_hash_when_only_its_header_changes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file(lora_tensors(), tmp_path / name, metadata={"title": name * 100})
    assert tensor_hash(tmp_path / "a") == tensor_hash(tmp_path / "b")


def test_the_hub_cache_says_a_models_hash(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("0f" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    link = tmp_path / "snapshot" / "transformer" / "model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert model_hash(tmp_path / "snapshot") == "0f" * 32
    assert model_hash(tmp_path / "blobs") == ""
