"""The ComfyUI engine against a ComfyUI-shaped server that it starts, loses, cancels and starts again."""

import asyncio
import io
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from safetensors.numpy import save_file

from backend.base_models import load_base_model
from backend.errors import EngineDied, EngineError, LoraRejected, OutOfMemory, WeightsError
from tests.conftest import LoopThread
from tests.workers.image_generation.conftest import HIDDEN, Log, lora_tensors
from tests.workers.image_generation.drawings import drawing_of_a_cat
from workers.image_generation.engines import Drawing, LoraInUse, PictureToDraw
from workers.image_generation.engines.comfyui import ComfyUIEngine

SERVER = Path(__file__).with_name("comfyui_server.py")
SLOW = {"steps": 400, "step_s": 0.02}


class Studio:
    """An engine on the server, the script that the server follows, and what it received."""

    def __init__(self, loop: LoopThread, folder: Path, **timing: float) -> None:
        self.loop = loop
        self.folder = folder
        self.models = folder / "models"
        self._script = folder / "script.json"
        self.broken = folder / "script.broken"
        command = [sys.executable, SERVER, "--script", self._script, "--models", self.models]
        self.engine = ComfyUIEngine(command, self.models, **timing)
        self._drawings = 0

    def follow(self, *script: dict[str, Any]) -> None:
        self._script.write_text(json.dumps(script))
        self._script.with_suffix(".received").unlink(missing_ok=True)

    def received(self, kind: str) -> list[Any]:
        path = self._script.with_suffix(".received")
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line[kind] for line in lines if kind in line]

    def drawing(self, *seeds: int, **changes: Any) -> Drawing:
        self._drawings += 1
        folder = self.folder / f"run-{self._drawings}"
        folder.mkdir()
        return drawing_of_a_cat(load_base_model("flux1-dev"), self.models, folder, *(seeds or (7,)), **changes)

    def draw(self, *seeds: int, **changes: Any) -> Log:
        async def work() -> Log:
            log = Log()
            await self.engine.draw(self.drawing(*seeds, **changes), log)
            return log

        return self.loop.run(work())

    def refusal(self, kind: type[Exception], **changes: Any) -> str:
        with pytest.raises(kind) as caught:
            self.draw(**changes)
        assert type(caught.value) is kind
        return str(caught.value)

    def close(self) -> None:
        self.loop.run(self.engine.close())

    def lora(self, name: str = "knit", **how: Any) -> LoraInUse:
        path = self.folder / f"{name}.safetensors"
        save_file(lora_tensors(**how), path)
        return LoraInUse(path=path, name=name, content_hash=f"{len(name):064x}", strength=0.8)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    loop = LoopThread()
    studio = Studio(loop, tmp_path_factory.mktemp("comfyui"))
    yield studio
    studio.close()
    loop.close()


@pytest.fixture
def studio(shared: Studio) -> Studio:
    """One server for all tests that don't mind: it starts in half a second."""
    shared.follow()
    return shared


# ------------------------------------------------------------------------------------------------ pictures


def test_each_picture_is_asked_for_with_words_of_its_own(studio: Studio) -> None:
    own = [PictureToDraw(index=0, seed=7), PictureToDraw(index=1, seed=8, prompt="a car")]
    log = studio.draw(pictures=own)
    graphs = [picture.texts["prompt"] for picture in log.pictures]
    assert ["a cat" in graphs[0], "a car" in graphs[1], "a cat" in graphs[1]] == [True, True, False]


def test_the_phases_do_not_go_back_between_two_pictures(studio: Studio) -> None:
    studio.draw()
    assert studio.draw(1, 2, 3).loadings == 1


def test_a_base_model_that_this_comfyui_is_too_old_for_is_refused(studio: Studio) -> None:
    spec = load_base_model("flux2-klein-4b")
    assert "FLUX.2 klein 4B needs ComfyUI 0.9.2 or newer; this worker has 0.3.76." in studio.refusal(
        EngineError, spec=spec
    )
    assert not studio.received("prompt")
    assert len(studio.draw(spec=spec.model_copy(update={"comfyui_since": "0.3.76"})).pictures) == 1


def test_what_a_workflow_has_no_place_for_is_said(studio: Studio) -> None:
    spec = load_base_model("flux1-schnell")
    log = studio.draw(1, 2, spec=spec, guidance=3.5, negative_prompt="")
    assert set(log.notes) == {"The workflow shows no place for the guidance: its own stays."}
    assert studio.draw(spec=spec, guidance=1.0).notes == []


def test_each_seed_becomes_a_picture_with_its_graph(studio: Studio) -> None:
    log = studio.draw(3, 2**64 - 1)
    assert [(picture.index, picture.seed, picture.sampler) for picture in log.pictures] == [
        (0, 3, "Euler"),
        (1, 2**64 - 1, "Euler"),
    ]
    assert len(set(log.pixels)) == 2
    with Image.open(log.pictures[0].path) as image:
        assert image.size == (96, 128)
    graph = json.loads(log.pictures[1].texts["prompt"])
    assert graph["25"]["inputs"]["noise_seed"] == 2**64 - 1
    assert log.begun.is_set()
    assert log.steps[-1] == (60, 60)
    assert [done for done, _ in log.steps] == sorted(done for done, _ in log.steps)


def test_two_drawings_of_the_same_prompt_both_get_pictures(studio: Studio) -> None:
    assert studio.draw(5).pixels == studio.draw(5).pixels
    prompts = studio.received("prompt")
    assert len({prompt["prompt"]["9"]["inputs"]["filename_prefix"] for prompt in prompts}) == 2
    assert len({prompt["client_id"] for prompt in prompts}) == 2


def test_nothing_stays_behind_in_comfyui(studio: Studio) -> None:
    studio.draw(1)
    process = studio.engine._process
    assert process
    assert [path for path in process.folder.rglob("*") if path.is_file()] == []
    assert studio.received("forgotten") == [prompt["prompt_id"] for prompt in studio.received("prompt")]


@pytest.mark.parametrize("metadata", [False, True], ids=["old", "new"])
def test_previews_are_small_and_at_most_one_a_second(studio: Studio, metadata: bool) -> None:
    studio.follow({"steps": 60, "step_s": 0.02, "metadata": metadata})
    log = studio.draw()
    assert 1 <= len(log.previews) <= 3
    index, jpeg = log.previews[0]
    assert index == 0
    assert len(jpeg) < 20_000
    assert max(Image.open(io.BytesIO(jpeg)).size) == 256


def test_a_picture_to_start_from_is_handed_over_and_removed(studio: Studio) -> None:
    room = studio.folder / "room.png"
    Image.new("RGB", (96, 128), "red").save(room)
    studio.follow({"do": "die"}, {})
    log = studio.draw(init_image=room, denoise=0.5)
    assert len(log.pictures) == 1
    names = studio.received("uploaded")
    assert len(names) == 2  # the second ComfyUI knew nothing of the first one's
    graph = studio.received("prompt")[1]["prompt"]
    loaded = [node["inputs"]["image"] for node in graph.values() if node["class_type"] == "LoadImage"]
    assert loaded == names[1:]
    assert graph["17"]["inputs"]["denoise"] == 0.5
    process = studio.engine._process
    assert process
    assert list((process.folder / "input").iterdir()) == []


# ------------------------------------------------------------------------------------------------ as it was recorded


@pytest.mark.parametrize("version", ["0.3.76", "0.33.0"])
@pytest.mark.parametrize("name", ["success", "success without metadata"])
def test_what_each_version_says_of_a_success_is_followed(studio: Studio, version: str, name: str) -> None:
    studio.follow({"replay": [version, name]})
    log = studio.draw()
    assert len(log.pictures) == 1
    assert len(log.previews) == 1
    # Of the four steps that were recorded, a fifth of a second's are told as one.
    assert (log.steps[0], log.steps[-1]) == ((30 // 4, 30), (30, 30))


@pytest.mark.parametrize("version", ["0.3.76", "0.33.0"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("failed", "ComfyUI failed in Trouble (13): ValueError: it broke"),
        ("interrupted", "was interrupted in ComfyUI, and not by Cancel"),
        ("refused: value not in list", "UNETLoader (1).unet_name: Value not in list, got 'gone.safetensors'"),
        ("refused: unknown node", "NoSuchNode"),
        ("refused: no output", "Prompt has no outputs"),
        ("refused: editor's format", "ComfyUI refused the workflow: "),
        ("one output dropped", "SaveImage (14).images: Return type mismatch between linked nodes"),
    ],
)
def test_what_each_version_says_of_a_failure_is_told(studio: Studio, version: str, name: str, said: str) -> None:
    studio.follow({"replay": [version, name]})
    assert said in studio.refusal(EngineError)


@pytest.mark.parametrize("version", ["0.3.76", "0.33.0"])
def test_what_each_version_says_of_too_little_memory_is_heeded(studio: Studio, version: str) -> None:
    studio.follow({"replay": [version, "out of memory"]})
    assert len(studio.draw().pictures) == 1
    assert studio.received("free") == [{"unload_models": True, "free_memory": True}]


# ------------------------------------------------------------------------------------------------ races


@pytest.mark.parametrize(
    "race",
    [
        {"history late by": 0.3},
        {"do": "stay silent"},
    ],
    ids=lambda race: str(race.get("do", "late history")),
)
def test_the_history_is_believed_whatever_the_websocket_says(studio: Studio, race: dict[str, Any]) -> None:
    studio.follow(race)
    log = studio.draw()
    assert len(log.pictures) == 1
    assert log.begun.is_set()


def test_a_cut_websocket_is_opened_again(studio: Studio) -> None:
    studio.follow({"do": "cut the websocket", "steps": 30, "step_s": 0.04})
    log = studio.draw()
    assert len(log.pictures) == 1
    assert len(studio.received("connected")) == 2
    assert len(log.steps) > 2


def test_a_prompt_that_comfyui_loses_is_sent_again(studio: Studio) -> None:
    studio.follow({"do": "lose"})
    log = studio.draw()
    assert len(log.pictures) == 1
    assert any("lost the prompt" in line for line in log.lines)


def test_a_death_in_the_middle_is_repaired_once(studio: Studio) -> None:
    studio.draw()
    before = studio.engine.pid
    studio.follow({}, {"do": "die"}, {})
    log = studio.draw(1, 2)
    assert [picture.index for picture in log.pictures] == [0, 1]
    assert studio.engine.pid != before
    assert len(studio.received("prompt")) == 3


def test_a_second_death_is_told_with_the_last_words(studio: Studio) -> None:
    studio.follow({"do": "die"}, {"do": "die", "log": ["Killed by the kernel"]})
    said = studio.refusal(EngineDied)
    assert "was ended by SIGKILL" in said
    assert "Killed by the kernel" in said


def test_one_that_was_killed_between_two_drawings_is_started_again(studio: Studio) -> None:
    studio.draw()
    assert studio.engine.pid
    os.kill(studio.engine.pid, signal.SIGKILL)
    assert len(studio.draw().pictures) == 1


# ------------------------------------------------------------------------------------------------ failures in words


def test_memory_is_freed_and_the_prompt_tried_once_more(studio: Studio) -> None:
    studio.follow({"do": "fail", "type": "torch.OutOfMemoryError"})
    assert len(studio.draw().pictures) == 1
    assert studio.received("free") == [{"unload_models": True, "free_memory": True}]
    later_torch = {"do": "fail", "type": "torch.AcceleratorError", "message": "CUDA error: out of memory"}
    studio.follow({"do": "fail", "type": "torch.OutOfMemoryError"}, later_torch)
    assert "out of memory in SamplerCustomAdvanced (13)" in studio.refusal(OutOfMemory)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ({"do": "fail", "type": "ValueError"}, "ComfyUI failed in SamplerCustomAdvanced (13): ValueError: it broke"),
        ({"do": "interrupt"}, "was interrupted in ComfyUI, and not by Cancel"),
        ({"do": "refuse"}, "UNETLoader (12).unet_name: Value not in list, got 'flux1-dev.safetensors'."),
        ({"do": "drop outputs"}, "UNETLoader (12).unet_name: Value not in list"),
        ({"do": "refuse as text"}, "500 Internal Server Error (HTTP 500)"),
        ({"do": "draw black"}, "in a single colour"),
        ({"do": "draw nothing"}, "ended without a picture"),
    ],
    ids=lambda value: value.get("do") if isinstance(value, dict) else "",
)
def test_what_went_wrong_is_said(studio: Studio, does: dict[str, Any], said: str) -> None:
    studio.follow(does)
    assert said in studio.refusal(EngineError)
    studio.follow()
    assert len(studio.draw().pictures) == 1


def test_incomplete_weights_are_refused_and_not_kept(studio: Studio) -> None:
    studio.draw()
    before = studio.engine.pid
    harmless = "clip missing: ['clip_l.logit_scale', 'text_projection.weight']"
    studio.follow({"log": [harmless]}, {"log": ["unet missing: ['single_blocks.37.linear1.weight']"]})
    assert len(studio.draw().pictures) == 1
    assert "unet lacks 1 tensors, such as single_blocks.37" in studio.refusal(WeightsError)
    studio.draw()
    assert studio.engine.pid != before


def test_a_prompt_past_its_deadline_ends_comfyui(studio: Studio, tmp_path: Path) -> None:
    hasty = Studio(studio.loop, tmp_path, load_timeout_s=0.6, picture_timeout_s=0.6)
    hasty.follow({"do": "hang"})
    assert "took more than 0.6 s over a picture" in hasty.refusal(EngineError)
    assert hasty.engine.pid is None
    assert len(hasty.draw().pictures) == 1
    hasty.close()


def test_one_that_does_not_start_is_told_with_its_last_words(studio: Studio, tmp_path: Path) -> None:
    broken = Studio(studio.loop, tmp_path)
    broken.broken.touch()
    said = broken.refusal(EngineDied)
    assert "ended with exit code 1 before it was ready" in said
    assert "Torch not compiled with CUDA enabled" in said
    broken.close()


# ------------------------------------------------------------------------------------------------ cancel


def cancelled_after(studio: Studio, wait_s: float) -> float:
    """Cancel a drawing that has gone on for a while; return the seconds the cancel took."""

    async def work() -> float:
        log = Log()
        task = asyncio.create_task(studio.engine.draw(studio.drawing(), log))
        await asyncio.sleep(wait_s) if wait_s else await log.begun.wait()
        task.cancel()
        since = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - since

    return studio.loop.run(work())


@pytest.mark.parametrize("lost", [0, 3])
def test_a_cancel_ends_the_prompt_and_keeps_comfyui(studio: Studio, lost: int) -> None:
    studio.draw()
    before = studio.engine.pid
    studio.follow({**SLOW, "lose interrupts": lost})
    assert cancelled_after(studio, 0) < 1.5
    assert studio.engine.pid == before
    assert len(studio.draw().pictures) == 1


@pytest.mark.parametrize("wait_s", [0.001, 0.01, 0.02, 0.05])
def test_a_cancel_at_any_moment_leaves_nothing_running(studio: Studio, wait_s: float) -> None:
    studio.draw()
    studio.follow(SLOW)
    assert cancelled_after(studio, wait_s) < 3
    studio.follow()
    since = time.monotonic()
    assert len(studio.draw().pictures) == 1
    assert time.monotonic() - since < 3


def test_a_cancel_ends_even_what_hears_nothing(studio: Studio) -> None:
    studio.follow({"do": "hang"})
    assert cancelled_after(studio, 0) < 3
    assert studio.engine.pid is None


def test_a_cancel_while_it_starts_leaves_no_process(studio: Studio, tmp_path: Path) -> None:
    fresh = Studio(studio.loop, tmp_path)
    assert cancelled_after(fresh, 0.1) < 3
    assert fresh.engine.pid is None
    assert len(fresh.draw().pictures) == 1
    fresh.close()


# ------------------------------------------------------------------------------------------------ LoRAs


def test_a_lora_is_linked_under_its_content_hash(studio: Studio) -> None:
    lora = studio.lora()
    studio.draw(loras=[lora])
    graph = studio.received("prompt")[0]["prompt"]
    used = [node["inputs"] for node in graph.values() if node["class_type"] == "LoraLoader"]
    assert [(inputs["lora_name"], inputs["strength_model"]) for inputs in used] == [
        (f"{lora.content_hash}.safetensors", 0.8)
    ]
    assert (studio.models / "loras" / f"{lora.content_hash}.safetensors").resolve() == lora.path


def test_a_lora_for_another_model_is_refused_now_and_later(studio: Studio) -> None:
    good, foreign = studio.lora("good"), studio.lora("foreign", prefix="other.")
    unmatched = [f"lora key not loaded: {name}" for name in lora_tensors(prefix="other.")]
    studio.follow({"log": unmatched})
    said = studio.refusal(LoraRejected, loras=[good, foreign])
    assert "'foreign' was made for another base model than FLUX.1-dev" in said
    assert "foreign" in studio.refusal(LoraRejected, loras=[foreign])
    assert len(studio.received("prompt")) == 1
    assert len(studio.draw(loras=[good]).pictures) == 1


def test_what_the_log_says_while_loading_ends_the_prompt_before_it_is_drawn(studio: Studio) -> None:
    studio.draw()
    foreign = studio.lora("found early", prefix="other.")
    unmatched = [f"lora key not loaded: {name}" for name in lora_tensors(prefix="other.")]
    studio.follow({**SLOW, "log": unmatched}, {**SLOW, "log": ["unet missing: ['img_in.weight']"]})  # 8 s each
    since = time.monotonic()
    assert "'found early' was made for another" in studio.refusal(LoraRejected, loras=[foreign])
    assert "unet lacks 1 tensors" in studio.refusal(WeightsError)
    assert time.monotonic() - since < 6
    assert len(studio.draw().pictures) == 1


def test_a_lora_that_loses_a_few_layers_is_drawn_with(studio: Studio) -> None:
    names = sorted(lora_tensors())
    for homeless, drawn in ((names[:2], True), (names[:4], False)):
        studio.follow({"log": [f"lora key not loaded: {name}" for name in homeless]})
        if drawn:
            assert len(studio.draw(loras=[studio.lora("partly")]).pictures) == 1
        else:
            assert "4 of its 6 tensors have no place" in studio.refusal(LoraRejected, loras=[studio.lora("mostly")])


def test_a_lora_for_a_larger_model_is_refused_before_anything_is_drawn(studio: Studio) -> None:
    model = studio.models / "diffusion_models" / "flux1-dev.safetensors"
    model.parent.mkdir(parents=True)
    # Query, key and value are one layer here, and three in the LoRA's naming.
    save_file({"single_blocks.0.linear1.weight": numpy.zeros((7 * HIDDEN, HIDDEN), "float16")}, model)
    good, wide = studio.lora("good"), studio.lora("wide", hidden=2 * HIDDEN)
    assert len(studio.draw(loras=[good]).pictures) == 1
    said = studio.refusal(LoraRejected, loras=[good, wide])
    assert "The LoRA 'wide' was made for another base model than FLUX.1-dev" in said
    assert "'transformer.single_transformer_blocks.0.attn.to_" in said and "is 512x512" in said
    assert len(studio.received("prompt")) == 1
    assert len(studio.draw(loras=[wide.model_copy(update={"strength": 0.0})]).pictures) == 1
    model.unlink()


@pytest.mark.parametrize("kind", ["lora", "glora"])
def test_a_lora_of_another_size_is_refused(studio: Studio, kind: str) -> None:
    studio.follow(
        {"log": [f"ERROR {kind} diffusion_model.single_blocks.0.linear1.weight shape '[9216, 3072]' is invalid"]}
    )
    said = studio.refusal(LoraRejected, loras=[studio.lora("large" + kind)])
    assert f"'large{kind}' does not fit FLUX.1-dev: 'diffusion_model.single_blocks.0.linear1.weight'" in said
