"""A studio started by the command that people use, and a browser in front of it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from safetensors.numpy import save_file

from tests.served import ServedStudio

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Without these, Chromium looks for updates; the page itself must not call anybody, which is tested.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# What pulses for as long as a training lasts costs a browser without a graphics card more than the training costs.
STILL: dict[str, Any] = {"viewport": {"width": 1400, "height": 875}, "reduced_motion": "reduce"}
expect.set_options(timeout=20_000)  # milliseconds, on a busy machine


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio started by the command that people use."""
    with ServedStudio({"ATELIER_HOME": str(tmp_path_factory.mktemp("browser"))}) as studio:
        yield studio.url


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
    context = browser.new_context(**STILL)
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
