"""The three images without building them: what each copies and installs is enough to start what its CMD starts."""

import asyncio
import os
import time
from pathlib import Path

import httpx

from backend.runs.runpod_client import ENDED
from tests.conftest import object_store
from tests.image import ROOT, Image
from tests.served import ServedStudio
from workers.local.machine import Machine
from workers.local.worker_process import WorkerPlan


def test_the_app_image_starts_the_studio(tmp_path: Path) -> None:
    image = Image(ROOT / "Dockerfile", tmp_path, stages=("base", "app"))
    _, *arguments = image.command
    at = arguments.index("--port")
    command = [str(image.add_script()), *arguments[:at], *arguments[at + 2 :], "--port"]
    with object_store(tmp_path) as settings:
        environment = {
            **image.environment,
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "ATELIER_PASSWORD": "a password of this test",
            "R2_ENDPOINT_URL": settings.r2_endpoint_url,
            "R2_ACCESS_KEY_ID": settings.r2_access_key_id,
            "R2_SECRET_ACCESS_KEY": settings.r2_secret_access_key.get_secret_value(),
            "RUNPOD_API_KEY": "key-of-this-test",
            "RUNPOD_TRAINING_ENDPOINT_ID": "training",
            "RUNPOD_IMAGE_GENERATION_ENDPOINT_ID": "image_generation",
            "RUNPOD_BASE_URL": "http://127.0.0.1:9/v2",
        }
        with (
            ServedStudio({}, command, env=environment, cwd=image.root) as studio,
            httpx.Client(base_url=studio.url, timeout=30) as client,
        ):
            client.post(
                "/login", data={"password": "a password of this test"}, headers={"sec-fetch-site": "same-origin"}
            )
            page = client.get("/", headers={"accept": "text/html"})
            assert "Try the sample pictures" in page.text
            assert client.get("/api/runs").json()["runs"] == []


ASKED = {
    "training": {"lora_name": "x", "dataset_key": "datasets/x/y.zip", "base_model": "flux9"},
    "image_generation": {"prompt": "a cat", "base_model": "flux9"},
}


async def test_the_worker_images_take_jobs(tmp_path: Path) -> None:
    plans = await asyncio.gather(*(asyncio.to_thread(worker_in_image, name, tmp_path / name) for name in ASKED))
    async with Machine(tmp_path / "machine", plans, stop_grace_s=2) as machine:
        headers = {"authorization": f"Bearer {machine.environment['RUNPOD_API_KEY']}"}
        base = machine.environment["RUNPOD_BASE_URL"]
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=30, trust_env=False) as client:
            answers = await asyncio.gather(*(answer(client, name, tmp_path) for name in ASKED))
    assert all("There is no base model 'flux9'" in each for each in answers), answers


def worker_in_image(name: str, folder: Path) -> WorkerPlan:
    """Return how the container of a worker starts, moved to a folder."""
    image = Image(ROOT / "workers" / name / "Dockerfile", folder)
    settings = {
        **image.environment,
        "ATELIER_PYTHON": image.python,
        "ATELIER_HOME": folder / "home",
        "ATELIER_VOLUME": folder / "volume",
        "PREFETCH_MODELS": "",  # 34 GB
        "PYTHONPATH": "",  # nothing but what was copied and installed
    }
    (start,) = image.command
    moved = start.replace("/opt/lora-atelier", str(image.root))
    given = (f"{variable}={value}" for variable, value in settings.items())
    return WorkerPlan(name, ("env", "-u", "ATELIER_BASE_MODELS", *given, moved))


async def answer(client: httpx.AsyncClient, name: str, folder: Path) -> str:
    """Return what RunPod's SDK in the image answers to a job."""
    job = (await client.post(f"/{name}/run", json={"input": ASKED[name]})).json()
    deadline = time.monotonic() + 60
    while (status := (await client.get(f"/{name}/status/{job['id']}")).json())["status"] not in ENDED:
        assert time.monotonic() < deadline, (folder / "machine" / "logs" / f"{name}.log").read_text()
        await asyncio.sleep(0.2)
    return str(status)
