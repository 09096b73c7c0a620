"""A studio started by the command that people use, and a browser in front of it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from safetensors.numpy import save_file

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Without these, Chromium looks for updates; the page itself must not call anybody, which is tested.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio started by the command that people use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"ATELIER_HOME": str(tmp_path_factory.mktemp("browser"))}
    command = [sys.executable, "-m", "app", "serve", "--no-open", "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 90
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/healthz").is_success:
                break
        assert process.poll() is None, "the studio ended instead of starting"
        assert time.monotonic() < deadline, "the studio did not start within 90 s"
        time.sleep(0.2)
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page that fails the test when it calls another server or its script breaks."""
    context = browser.new_context(viewport={"width": 1400, "height": 875})
    page = context.new_page()
    strangers: list[str] = []
    broken: list[str] = []
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else strangers.append(asked.url),
    )
    page.on("pageerror", lambda error: broken.append(str(error)))
    yield page
    context.close()
    assert strangers == []
    assert broken == []


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the tiny model, as ai-toolkit would have left it."""
    random = numpy.random.default_rng(1)
    tensors = {}
    for layer in ("attn.to_q", "attn.to_k", "attn.to_v"):
        name = f"transformer.single_transformer_blocks.0.{layer}"
        tensors[f"{name}.lora_A.weight"] = random.normal(0, 0.05, (4, 256)).astype("float32")
        tensors[f"{name}.lora_B.weight"] = random.normal(0, 0.05, (256, 4)).astype("float32")
    path = tmp_path_factory.mktemp("elsewhere") / "Toy robot.safetensors"
    save_file(tensors, path, metadata={"ss_tag_frequency": json.dumps({"1_t0y": {"t0y": 1}}), "name": "Toy robot"})
    return path
