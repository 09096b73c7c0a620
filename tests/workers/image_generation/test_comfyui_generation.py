"""A generation with ComfyUI from request to storage: the real S3 server, and a ComfyUI-shaped one."""

import io
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy
import pytest
from PIL import Image
from safetensors.numpy import save_file

from backend.base_models import load_base_model
from backend.contract import GenerationRequest, ImageRecord, new_run_id
from backend.errors import InvalidRequest
from backend.keys import ImageKeys, RunKeys
from backend.settings import Settings
from backend.storage import Storage
from tests.workers.image_generation.conftest import lora_bytes
from workers.image_generation.engines.comfyui import ComfyUIEngine
from workers.image_generation.generate import ImageGeneration
from workers.image_generation.links import link_weights
from workers.image_generation.loras import LoraCache
from workers.report import Report
from workers.runtime import Run

SERVER = Path(__file__).with_name("comfyui_server.py")
NewRun = Callable[..., Run[GenerationRequest]]


@pytest.fixture
async def work(tmp_path: Path) -> AsyncIterator[ImageGeneration]:
    """The work of a worker whose volume holds FLUX.1-dev, in very small."""
    for file in load_base_model("flux1-dev").weights.comfyui:
        repo = tmp_path / "volume" / "huggingface" / f"models--{file.repo.replace('/', '--')}"
        commit = file.revision if len(file.revision) == 40 else "f" * 40
        (repo / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / file.revision).write_text(commit)
        path = repo / "snapshots" / commit / file.file
        if file.sha256:  # as in the Hub's cache, where a blob is named by its content
            blob = repo / "blobs" / file.sha256
            blob.parent.mkdir(exist_ok=True)
            path.symlink_to(blob)
            path = blob
        save_file({"weight": numpy.ones(4, "float32")}, path)
    models = tmp_path / "models"
    command = [sys.executable, SERVER, "--script", tmp_path / "script.json", "--models", models]
    engine = ComfyUIEngine(command, models)
    yield ImageGeneration(engine, LoraCache(tmp_path / "loras"), link_weights)
    await engine.close()


@pytest.fixture
def new_run(storage: Storage, storage_settings: Settings, owner: str, tmp_path: Path) -> NewRun:
    own = {"atelier_image_engine": "comfyui", "comfyui_path": tmp_path, "atelier_volume": tmp_path / "volume"}
    settings = storage_settings.model_copy(update=own)

    def make(**asked: Any) -> Run[GenerationRequest]:
        asked = {"prompt": "a cat", "owner": owner, "run_id": new_run_id("image"), "width": 128, "height": 96} | asked
        request = GenerationRequest.model_validate(asked)
        keys = RunKeys(owner, str(request.run_id))
        folder = tmp_path / str(request.run_id)
        folder.mkdir()
        spec = load_base_model(request.base_model_id)
        return Run(request, spec, keys, settings, storage, Report(keys, request.attempt), folder)

    return make


async def test_a_prompt_with_a_lora_becomes_a_picture_in_storage(
    work: ImageGeneration, new_run: NewRun, storage: Storage, owner: str, tmp_path: Path
) -> None:
    key = f"loras/{owner}/1/knit.safetensors"
    storage.loras.put(key, lora_bytes())
    run = new_run(lora_key=key, seed=2**64 - 1)
    result = await work(run)
    with Image.open(io.BytesIO(storage.outputs.get(result.images[0].key))) as picture:
        assert picture.size == (128, 96)
        assert picture.info["parameters"].startswith("a cat <lora:knit:1>\nSteps: 28, Sampler: Euler")
        graph = json.loads(picture.info["prompt"])
    assert graph["25"]["inputs"]["noise_seed"] == 2**64 - 1
    assert {node["class_type"] for node in graph.values()} >= {"LoraLoader", "UNETLoader"}
    assert (tmp_path / "models" / "diffusion_models" / "flux1-dev.safetensors").is_symlink()
    assert run.report.snapshot().step == 28


async def test_a_picture_becomes_another_one(
    work: ImageGeneration, new_run: NewRun, storage: Storage, owner: str
) -> None:
    first = (await work(new_run())).images[0].key
    second = (await work(new_run(init_image=first, denoise=0.25))).images[0]
    record = storage.outputs.get_message(ImageKeys(owner, PurePosixPath(second.key).stem).record, ImageRecord)
    assert (record.init_image, record.denoise) == (first, 0.25)
    with Image.open(io.BytesIO(storage.outputs.get(second.key))) as picture:
        assert "Denoising strength: 0.25" in picture.info["parameters"]
        graph = json.loads(picture.info["prompt"])
    assert graph["17"]["inputs"]["denoise"] == 0.25


async def test_the_picture_so_far_is_in_storage(work: ImageGeneration, new_run: NewRun, storage: Storage) -> None:
    run = new_run()
    assert run.report.snapshot().preview_key is None
    await work(run)
    run.report.take_changes(all_of_it=True).store(storage)
    assert run.report.snapshot().preview_index == 0
    key = run.report.snapshot().preview_key
    assert key == run.keys.preview
    with Image.open(io.BytesIO(storage.loras.get(key))) as preview:
        assert (preview.format, max(preview.size)) == ("JPEG", 256)


async def test_a_workflow_in_the_request_is_run(work: ImageGeneration, new_run: NewRun, storage: Storage) -> None:
    own = load_base_model("sdxl").workflow
    result = await work(new_run(workflow=own))
    with Image.open(io.BytesIO(storage.outputs.get(result.images[0].key))) as picture:
        assert "CheckpointLoaderSimple" in picture.info["prompt"]
        assert "Sampler: DPM++ 2M" in picture.info["parameters"]
    with pytest.raises(InvalidRequest, match="The request's workflow is in the format of ComfyUI's editor"):
        await work(new_run(workflow={"nodes": [], "links": []}))


async def test_a_worker_without_comfyui_refuses_a_workflow(
    work: ImageGeneration, new_run: NewRun, storage_settings: Settings
) -> None:
    run = new_run(workflow=load_base_model("sdxl").workflow)
    without = Run(run.request, run.spec, run.keys, storage_settings, run.storage, run.report, run.folder)
    with pytest.raises(InvalidRequest, match="draws without ComfyUI"):
        await work(without)
