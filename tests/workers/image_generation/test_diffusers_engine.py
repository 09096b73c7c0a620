"""The diffusers engine with the real tiny model, through its real child process."""

import asyncio
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from safetensors.numpy import save_file

from backend.base_models import weights_folder
from backend.contract import BaseModelSpec
from backend.errors import EngineError, LoraRejected, OutOfMemory, WeightsError
from tests.conftest import LoopThread
from tests.workers.image_generation.conftest import HIDDEN, LAYERS, RANK, Desk, Log, MakeLora, lora_tensors
from workers.image_generation.engines.diffusers_child import _explained


def difference(first: bytes, second: bytes) -> int:
    """The largest difference of two pictures, in levels of 255."""
    levels = [numpy.frombuffer(pixels, "uint8").astype(int) for pixels in (first, second)]
    return int(abs(levels[0] - levels[1]).max())


def mean_difference(first: bytes, second: bytes) -> float:
    """How far two pictures are apart on average, in levels of 255."""
    levels = [numpy.frombuffer(pixels, "uint8").astype(int) for pixels in (first, second)]
    return float(abs(levels[0] - levels[1]).mean())


def test_pictures_come_in_order_with_steps_and_no_second_loading(desk: Desk) -> None:
    desk.draw(1)
    log = desk.draw(7, 2**64 - 1)
    assert [(picture.index, picture.seed) for picture in log.pictures] == [(0, 7), (1, 2**64 - 1)]
    assert {picture.sampler for picture in log.pictures} == {"Euler"}
    assert log.steps[-1] == (6, 6)
    assert log.steps == sorted(log.steps)
    assert log.loadings == 0
    assert {len(pixels) for pixels in log.pixels} == {96 * 128 * 3}


def test_a_seed_gives_the_same_pixels_in_any_company(desk: Desk) -> None:
    alone = desk.draw(5).pixels[0]
    assert desk.draw(5).pixels[0] == alone
    assert desk.draw(1, 2, 5, 3).pixels[2] == alone
    assert desk.draw(6).pixels[0] != alone


def test_a_picture_grows_out_of_another(desk: Desk) -> None:
    start = desk.draw(5, prompt="a red apple", steps=8)
    begun = {"init_image": start.pictures[0].path, "prompt": "a green frog", "steps": 5}
    little, all_of_it = desk.draw(6, **begun, denoise=0.1), desk.draw(6, **begun, denoise=1.0)
    assert little.steps[-1] == all_of_it.steps[-1] == (5, 5)
    assert mean_difference(little.pixels[0], start.pixels[0]) < 8
    assert mean_difference(all_of_it.pixels[0], start.pixels[0]) > 24


def test_a_picture_is_seen_while_it_forms_and_is_none_the_other_for_it(desk: Desk) -> None:
    quick = desk.draw(5, steps=8).pixels[0]
    slow = desk.draw(5, steps=80)
    from_another = desk.draw(5, steps=80, init_image=slow.pictures[0].path, denoise=0.5)
    for log in (slow, from_another):
        assert {index for index, _ in log.previews} == {0}
        last = Image.open(io.BytesIO(log.previews[-1][1]))
        drawn = Image.open(log.pictures[0].path)
        assert (last.format, last.size) == ("JPEG", drawn.size)
        # It shows where the picture is going, not the noise that it is made of.
        assert mean_difference(last.tobytes(), drawn.tobytes()) < 20
    assert desk.draw(5, steps=8).pixels[0] == quick


def test_a_lora_acts_and_leaves_no_trace(desk: Desk, make_lora: MakeLora) -> None:
    base = desk.draw(5).pixels
    lora = make_lora(lora_tensors())
    changed = desk.draw(5, loras=[lora]).pixels
    assert difference(changed[0], base[0]) > 3
    assert desk.draw(5).pixels == base
    assert desk.draw(5, loras=[lora]).pixels == changed
    assert desk.draw(5, loras=[lora.model_copy(update={"strength": 0.0})]).pixels == base


def test_strength_and_company_change_what_loras_do(desk: Desk, make_lora: MakeLora) -> None:
    robot, toon = make_lora(lora_tensors(seed=1)), make_lora(lora_tensors(seed=2))
    half = robot.model_copy(update={"strength": 0.5})
    pictures = {desk.draw(5, loras=loras).pixels[0] for loras in ([robot], [half], [toon], [robot, toon])}
    assert len(pictures) == 4


def test_only_the_last_few_loras_stay_loaded_and_all_of_a_request(desk: Desk, make_lora: MakeLora) -> None:
    loras = [make_lora(lora_tensors(seed=number)) for number in range(8)]
    first = desk.draw(5, loras=loras[:1]).pixels
    desk.draw(5, loras=loras)
    desk.draw(5, loras=loras[7:])
    assert desk.draw(5, loras=loras[:1]).pixels == first


def test_raw_peft_names_mean_the_same(desk: Desk, make_lora: MakeLora) -> None:
    plain = make_lora(lora_tensors())
    raw = {
        key.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default."): tensor
        for key, tensor in lora_tensors(prefix="base_model.model.").items()
    }
    assert desk.draw(5, loras=[make_lora(raw)]).pixels == desk.draw(5, loras=[plain]).pixels


def with_alphas(tensors: dict[str, Any], alpha: float) -> dict[str, Any]:
    layers = {key.partition(".lora_")[0] for key in tensors}
    return tensors | {f"{layer}.alpha": numpy.array(alpha, "float32") for layer in layers}


def test_an_alpha_scales_wherever_it_is_written(desk: Desk, make_lora: MakeLora) -> None:
    tensors = lora_tensors()
    halved = {key: tensor / 2 if "lora_B" in key else tensor for key, tensor in tensors.items()}
    expected = desk.draw(5, loras=[make_lora(halved)]).pixels
    by_key = make_lora(with_alphas(tensors, RANK / 2))
    by_header = make_lora(tensors, adapter={"transformer.r": RANK, "transformer.lora_alpha": RANK / 2})
    assert desk.draw(5, loras=[by_key]).pixels == expected
    assert desk.draw(5, loras=[by_header]).pixels == expected


def test_the_names_of_kohya_and_of_black_forest_labs_are_understood(desk: Desk, make_lora: MakeLora) -> None:
    random = numpy.random.default_rng(3)
    down = random.normal(0, 0.3, (RANK, HIDDEN)).astype("float32")
    up = random.normal(0, 0.3, (HIDDEN * 3, RANK)).astype("float32")
    block = "transformer.transformer_blocks.0"
    split = {}
    for index, layer in enumerate(LAYERS):
        split[f"{block}.{layer}.lora_A.weight"] = down
        split[f"{block}.{layer}.lora_B.weight"] = up[index * HIDDEN : (index + 1) * HIDDEN].copy()
    kohya = {
        "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": down,
        "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": up,
        "lora_unet_double_blocks_0_img_attn_qkv.alpha": numpy.array(float(RANK), "float32"),
    }
    labs = {
        "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight": down,
        "diffusion_model.double_blocks.0.img_attn.qkv.lora_B.weight": up,
    }
    expected = desk.draw(5, loras=[make_lora(split)]).pixels
    assert desk.draw(5, loras=[make_lora(kohya)]).pixels == expected
    assert desk.draw(5, loras=[make_lora(labs)]).pixels == expected


def text_encoder_lora(encoder: str) -> dict[str, Any]:
    """A LoRA of kohya's that changes the attention of one text encoder (of width 128) alone."""
    random = numpy.random.default_rng(4)
    layer = f"{encoder}_text_model_encoder_layers_0_self_attn_q_proj"
    return {
        f"{layer}.lora_down.weight": random.normal(0, 1, (RANK, 128)).astype("float32"),
        f"{layer}.lora_up.weight": random.normal(0, 1, (128, RANK)).astype("float32"),
        f"{layer}.alpha": numpy.array(float(RANK), "float32"),
    }


def test_a_lora_of_the_text_encoder_acts_too(desk: Desk, make_lora: MakeLora) -> None:
    base = desk.draw(5).pixels
    words, robot = make_lora(text_encoder_lora("lora_te1")), make_lora(lora_tensors())
    changed = desk.draw(5, loras=[words]).pixels
    assert changed != base
    assert desk.draw(5, loras=[words, robot]).pixels not in (changed, desk.draw(5, loras=[robot]).pixels)
    assert desk.draw(5).pixels == base


def test_layers_that_would_be_left_out_in_silence_are_an_error(desk: Desk, make_lora: MakeLora) -> None:
    with pytest.raises(LoraRejected, match="1 layers of the LoRA 'robot' are for a text encoder"):
        desk.draw(5, loras=[make_lora(text_encoder_lora("lora_te1") | text_encoder_lora("lora_te3"))])


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (lora_tensors(hidden=3072), "'robot' was made for another base model than Tiny FLUX.*3072x3072"),
        (lora_tensors(prefix="transformer.nowhere."), "'robot' was made for another base model.*there is no layer"),
        (lora_tensors() | lora_tensors(prefix="transformer.nowhere."), "3 of 6 layers of the LoRA 'robot' don't fit"),
        (
            lora_tensors() | {"transformer.x_embedder.dora_scale": numpy.zeros(3, "float32")},
            "'robot' is of a kind other than LoRA",
        ),
    ],
    ids=["another size", "another model", "half of another model", "DoRA"],
)
def test_a_lora_that_does_not_fit_is_refused_by_name(
    desk: Desk, make_lora: MakeLora, tensors: dict[str, Any], said: str
) -> None:
    base = desk.draw(5).pixels
    with pytest.raises(LoraRejected, match=said):
        desk.draw(5, loras=[make_lora(tensors)])
    assert desk.draw(5).pixels == base


def test_a_picture_without_a_picture_is_an_error(desk: Desk, spec: BaseModelSpec, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from safetensors.torch import save_file as save_torch

    folder = weights_folder(spec)
    assert folder
    for value, said in ((0.0, "nothing but one colour"), (float("nan"), "no numbers")):
        broken = tmp_path / str(value)
        shutil.copytree(folder, broken)
        file = broken / "vae" / "diffusion_pytorch_model.safetensors"
        save_torch({key: tensor * 0 + value for key, tensor in load_file(file).items()}, file, {"format": "pt"})
        with pytest.raises(EngineError, match=f"{said}.*seed 9"):
            desk.draw(9, weights=broken)


def test_weights_that_cannot_be_read_are_said_so(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        desk.draw(1, weights=tmp_path)


def test_a_cancel_ends_within_three_seconds_and_keeps_the_engine_warm(desk: Desk) -> None:
    async def work() -> float:
        log = Log()
        drawing = asyncio.create_task(desk.engine.draw(desk.drawing(1, 2, 3, 4, steps=150), log))
        await log.begun.wait()
        await asyncio.sleep(0.2)
        cancelled_at = time.monotonic()
        drawing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drawing
        assert len(log.pictures) < 4
        return time.monotonic() - cancelled_at

    desk.draw(1)
    pid = desk.engine.pid
    assert desk.loop.run(work()) < 3
    assert desk.engine.pid == pid
    assert desk.draw(5).steps[-1] == (3, 3)


def test_a_killed_engine_is_started_again_and_the_drawing_finished(desk: Desk) -> None:
    expected = desk.draw(1, 2, 3, steps=40).pixels
    first_pid = desk.engine.pid

    async def work() -> Log:
        log = Log()
        drawing = asyncio.create_task(desk.engine.draw(desk.drawing(1, 2, 3, steps=40), log))
        await log.first_picture.wait()
        assert desk.engine.pid
        os.kill(desk.engine.pid, signal.SIGKILL)
        await drawing
        return log

    log = desk.loop.run(work())
    assert desk.engine.pid not in (None, first_pid)
    assert [picture.index for picture in log.pictures] == [0, 1, 2]
    assert log.pixels == expected
    assert any("was ended by SIGKILL" in line for line in log.lines)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_out_of_memory_is_told_apart(desk: Desk, error: Exception) -> None:
    explained = _explained(error, desk.drawing(1))
    assert isinstance(explained, OutOfMemory)
    assert "96x128 pixels" in explained.message


def test_a_file_cut_after_the_check_is_refused(desk: Desk, make_lora: MakeLora) -> None:
    lora = make_lora(lora_tensors())
    save_file(lora_tensors(), lora.path)
    lora.path.write_bytes(lora.path.read_bytes()[:-10])
    with pytest.raises(LoraRejected, match="'robot' can't be read"):
        desk.draw(1, loras=[lora])


def test_a_stuck_engine_is_cancelled_too(desk: Desk) -> None:
    async def work() -> float:
        log = Log()
        drawing = asyncio.create_task(desk.engine.draw(desk.drawing(1, steps=150), log))
        await log.begun.wait()
        assert desk.engine.pid
        os.kill(desk.engine.pid, signal.SIGSTOP)
        cancelled_at = time.monotonic()
        drawing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drawing
        return time.monotonic() - cancelled_at

    assert desk.loop.run(work()) < 3
    assert desk.engine.pid is None


def test_a_deadline_ends_it_in_words(engine_loop: LoopThread, spec: BaseModelSpec, tmp_path: Path) -> None:
    desk = Desk(engine_loop, spec, tmp_path, load_timeout_s=0.3)
    with pytest.raises(EngineError, match=r"more than 0\.3 s to load Tiny FLUX"):
        desk.draw(1)
    assert desk.engine.pid is None


def start_child(idle_s: str) -> "subprocess.Popen[bytes]":
    program = "workers.image_generation.engines.diffusers_child"
    return subprocess.Popen([sys.executable, "-m", program, idle_s], stdin=subprocess.PIPE)


def test_the_child_leaves_when_it_has_nothing_to_do() -> None:
    with start_child("0.2") as child:
        assert child.wait(timeout=20) == 0


def test_the_child_leaves_when_the_worker_is_gone() -> None:
    with start_child("60") as child:
        child.communicate(timeout=20)
    assert child.returncode == 0
