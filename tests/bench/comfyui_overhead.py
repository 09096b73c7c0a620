"""What the engine adds to a prompt over posting it to ComfyUI directly: prints both medians and their ratio.

Run it as `python -m tests.bench.comfyui_overhead`; it uses the ComfyUI-shaped server of the tests.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

import tests.workers.image_generation as server_package
from backend.base_models import load_base_model
from tests.workers.image_generation.drawings import drawing_of_a_cat
from workers.image_generation.comfyui_client import ComfyUIClient
from workers.image_generation.engines import Picture
from workers.image_generation.engines.comfyui import ComfyUIEngine
from workers.image_generation.workflow import Asked, render

PROMPTS = 40
MOST_MS = 50.0


class Nobody:
    """A Watch that does nothing."""

    def loading(self) -> None: ...

    def generating(self) -> None: ...

    def step(self, step: int, steps: int) -> None: ...

    def picture(self, picture: Picture) -> None: ...

    def preview(self, index: int, jpeg: bytes) -> None: ...

    def note(self, sentence: str) -> None: ...

    def log(self, line: str) -> None: ...


async def direct_ms(client: ComfyUIClient) -> float:
    """Post a prompt, ask for its history until it is there, and return the milliseconds that took."""
    asked = Asked("a cat", width=256, height=256, filename_prefix=uuid.uuid4().hex)
    graph = render(load_base_model("flux1-dev"), asked).graph
    prompt_id = str(uuid.uuid4())
    since = time.perf_counter()
    await client.submit(graph, prompt_id, "nobody")
    while not await client.history(prompt_id):  # noqa: ASYNC110 - the far end has no event for this
        await asyncio.sleep(0.002)
    return 1000 * (time.perf_counter() - since)


async def engine_ms(engine: ComfyUIEngine, folder: Path) -> float:
    """Draw the same with the engine, and return the milliseconds that took."""
    spec = load_base_model("flux1-dev")
    drawing = drawing_of_a_cat(spec, folder, folder, 0, width=256, height=256, steps=28)
    since = time.perf_counter()
    await engine.draw(drawing, Nobody())
    return 1000 * (time.perf_counter() - since)


async def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "script.json").write_text(json.dumps([]))
        server = Path(str(server_package.__file__)).with_name("comfyui_server.py")
        engine = ComfyUIEngine([sys.executable, server, "--script", folder / "script.json"], folder)
        await engine_ms(engine, folder)
        assert engine.url
        async with ComfyUIClient(engine.url) as client:
            # In turns, so that what else the machine does falls on both.
            pairs = [(await direct_ms(client), await engine_ms(engine, folder)) for _ in range(PROMPTS)]
        await engine.close()
    direct, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"direct {direct:.1f} ms, engine {ours:.1f} ms: {ours - direct:.1f} ms more, {ours / direct:.2f} times")
    return 0 if ours - direct < MOST_MS else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
