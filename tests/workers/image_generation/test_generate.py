"""A generation from request to storage: the real S3 server, with the real engine and with one that draws squares."""

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from PIL import Image

from backend.contract import BaseModelSpec, GenerationRequest, GenerationResult, ImageRecord, new_run_id
from backend.errors import EngineError, InvalidRequest, NotFound
from backend.gallery.gallery import Gallery
from backend.keys import ImageKeys, RunKeys, record_prefix
from backend.settings import Settings
from backend.storage import Storage
from tests.workers.image_generation.conftest import Desk, lora_bytes
from workers.image_generation.engines import Drawing, Picture, Watch
from workers.image_generation.generate import ImageGeneration, seeds_of, settle
from workers.image_generation.loras import LoraCache
from workers.report import Report
from workers.runtime import Run

NewRun = Callable[..., Run[GenerationRequest]]


class SquareEngine:
    """Draws squares, and may break or wait for ever before the last one."""

    def __init__(self, error: Exception | None = None, hang: bool = False) -> None:
        self.drawings: list[Drawing] = []
        self.drew = asyncio.Event()
        self._error = error
        self._hang = hang

    async def draw(self, drawing: Drawing, watch: Watch) -> None:
        self.drawings.append(drawing)
        watch.loading()
        watch.generating()
        for number, wanted in enumerate(drawing.pictures, start=1):
            if number == len(drawing.pictures):
                await self._before_the_last()
            watch.step(number * drawing.steps, len(drawing.pictures) * drawing.steps)
            path = drawing.folder / f"{wanted.index}.bmp"
            Image.new("RGB", (drawing.width, drawing.height), (wanted.seed % 256, 0, 99)).save(path)
            watch.picture(Picture(wanted.index, wanted.seed, path, "Euler", {"workflow": "{}"}))

    async def _before_the_last(self) -> None:
        if self._error:
            raise self._error
        if self._hang:
            self.drew.set()
            await asyncio.sleep(60)

    async def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture
def new_run(storage: Storage, storage_settings: Settings, spec: BaseModelSpec, owner: str, tmp_path: Path) -> NewRun:
    def make(**asked: Any) -> Run[GenerationRequest]:
        asked = {"prompt": "a cat", "base_model": "tiny-flux", "owner": owner, "run_id": new_run_id("image")} | asked
        request = GenerationRequest.model_validate(asked)
        keys = RunKeys(owner, str(request.run_id))
        return Run(request, spec, keys, storage_settings, storage, Report(keys, request.attempt), tmp_path)

    return make


@pytest.fixture
def lora_key(storage: Storage, owner: str) -> str:
    key = f"loras/{owner}/1/my robot.safetensors"
    storage.loras.put(key, lora_bytes())
    return key


def work_of(engine: Any, folder: Path) -> ImageGeneration:
    return ImageGeneration(engine, LoraCache(folder / "loras"))


def opened(url: str) -> tuple[str, bytes]:
    """What a browser gets at an address: the type it is told, and the bytes."""
    with urlopen(url) as reply:  # noqa: S310
        return reply.headers["content-type"], reply.read()


def test_a_prompt_becomes_pictures_in_storage(
    desk: Desk, new_run: NewRun, storage: Storage, owner: str, lora_key: str, tmp_path: Path
) -> None:
    run = new_run(count=2, seed=2**64 - 1, loras=[{"key": lora_key, "strength": 0.5}], steps=3, width=100, height=128)

    async def work() -> GenerationResult:
        return await work_of(desk.engine, tmp_path)(run)

    result = desk.loop.run(work())
    assert [image.seed for image in result.images] == [2**64 - 1, 0]
    assert result.notes == ["The size was rounded from 100x128 to 96x128: Tiny FLUX needs multiples of 16 pixels."]
    for index, image in enumerate(result.images):
        keys = ImageKeys.of_run(owner, run.keys.run_id, index)
        record = storage.outputs.get_message(keys.record, ImageRecord)
        assert (record.key, record.thumb_key, record.seed) == (keys.image, keys.thumb, image.seed)
        assert (record.prompt, record.width, record.height, record.steps) == ("a cat", 96, 128, 3)
        assert [(lora.key, lora.strength) for lora in record.loras] == [(lora_key, 0.5)]
        with urlopen(image.url) as reply, Image.open(io.BytesIO(reply.read())) as picture:  # noqa: S310
            assert picture.size == (96, 128)
            assert picture.info["parameters"].startswith("a cat <lora:my-robot:0.5>\nSteps: 3, Sampler: Euler")
        with Image.open(io.BytesIO(storage.outputs.get(keys.thumb))) as thumb:
            assert (thumb.format, thumb.size) == ("WEBP", (96, 128))
    assert run.report.snapshot().step == 6
    assert {phase.phase for phase in result.phases} >= {"starting", "fetching data", "generating", "uploading"}


def test_each_picture_is_drawn_from_words_of_its_own_where_it_has_some(
    desk: Desk, new_run: NewRun, storage: Storage, tmp_path: Path
) -> None:
    both = new_run(count=2, seed=5, steps=4, prompt="a {cat|car}", prompts=["a cat", "a car"])
    alone = new_run(count=1, seed=6, steps=4, prompt="a car")

    async def work(run: Run[GenerationRequest]) -> GenerationResult:
        return await work_of(desk.engine, tmp_path)(run)

    keys = [image.key for image in desk.loop.run(work(both)).images]
    again = desk.loop.run(work(alone)).images[0].key

    def opened_from(key: str) -> Image.Image:
        return Image.open(io.BytesIO(storage.outputs.get(key)))

    assert opened_from(keys[1]).tobytes() == opened_from(again).tobytes() != opened_from(keys[0]).tobytes()
    assert opened_from(keys[1]).info["parameters"].startswith("a car\nSteps")
    records = [
        storage.outputs.get_message(key.replace("images/", "records/")[:-3] + "json", ImageRecord) for key in keys
    ]
    assert [(each.prompt, each.prompt_template) for each in records] == [
        ("a cat", "a {cat|car}"), ("a car", "a {cat|car}"),
    ]  # fmt: skip


async def test_a_run_done_twice_is_the_same_run(new_run: NewRun, storage: Storage, owner: str, tmp_path: Path) -> None:
    run = new_run(count=3)
    work = work_of(SquareEngine(), tmp_path)
    first, second = await work(run), await work(run)
    assert [image.key for image in first.images] == [image.key for image in second.images]
    assert [image.seed for image in first.images] == [image.seed for image in second.images]
    assert len(storage.outputs.list_page(record_prefix(owner))) == 3


async def test_a_retry_draws_other_seeds(new_run: NewRun) -> None:
    run_id = new_run_id("image")
    assert seeds_of(new_run(run_id=run_id), 2) != seeds_of(new_run(run_id=run_id, attempt=2), 2)


async def test_texts_of_the_engine_reach_the_file(new_run: NewRun, storage: Storage, tmp_path: Path) -> None:
    result = await work_of(SquareEngine(), tmp_path)(new_run())
    with Image.open(io.BytesIO(storage.outputs.get(result.images[0].key))) as picture:
        assert picture.info["workflow"] == "{}"


@pytest.mark.parametrize(("output_format", "suffix"), [("jpeg", ".jpg"), ("webp", ".webp")])
async def test_another_format_is_stored_as_such_and_deleted_like_any(
    new_run: NewRun, storage: Storage, owner: str, tmp_path: Path, output_format: str, suffix: str
) -> None:
    image = (await work_of(SquareEngine(), tmp_path)(new_run(output_format=output_format))).images[0]
    assert image.key.endswith(suffix)
    image_id = Path(image.key).stem
    gallery = Gallery(storage, tmp_path / "gallery.db")
    assert gallery.open(owner, image_id).key == image.key
    content_type, data = await asyncio.to_thread(opened, image.url)
    assert content_type == f"image/{output_format}"
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == output_format.upper()
    gallery.delete(owner, [image_id])
    gallery.close()
    assert not storage.outputs.exists(image.key)
    assert not storage.outputs.exists(image.thumb_key)


def test_too_large_a_picture_is_refused_with_the_limit(new_run: NewRun, spec: BaseModelSpec) -> None:
    with pytest.raises(InvalidRequest, match=r"1024x1024 is 1,048,576 pixels; Tiny FLUX draws 25,600 at most"):
        settle(new_run(width=1024, height=1024).request, spec)


def test_a_negative_prompt_that_does_nothing_is_said_so(new_run: NewRun, spec: BaseModelSpec) -> None:
    assert settle(new_run(negative_prompt="blur").request, spec)[1] == [
        "The negative prompt was left out: Tiny FLUX takes none."
    ]


async def test_a_lora_that_is_not_there_is_said_before_anything_is_drawn(new_run: NewRun, tmp_path: Path) -> None:
    engine = SquareEngine()
    with pytest.raises(NotFound, match="The LoRA “x” is not in storage"):
        await work_of(engine, tmp_path)(new_run(lora_key="loras/nobody/x"))
    assert not engine.drawings


async def test_a_picture_to_start_from_is_brought_to_the_size(
    new_run: NewRun, storage: Storage, owner: str, tmp_path: Path
) -> None:
    wide = Image.new("RGB", (400, 100), "blue")
    wide.paste("red", (150, 0, 250, 100))
    buffer = io.BytesIO()
    wide.save(buffer, "JPEG", quality=95)
    storage.outputs.put(f"images/{owner}/wide.jpg", buffer.getvalue())
    engine = SquareEngine()
    await work_of(engine, tmp_path)(new_run(init_image=f"images/{owner}/wide.jpg", width=96, height=96))
    drawing = engine.drawings[0]
    assert drawing.denoise == 0.6
    assert drawing.init_image
    with Image.open(drawing.init_image) as middle:
        assert middle.size == (96, 96)
        red, _, blue = middle.getpixel((5, 5))  # type: ignore[misc]
    assert red > 240 and blue < 20


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no picture", "x.png is not a picture that can be read"),
        (b"\0" * 2000, "x.png has 2,000 bytes; a picture to start from has 1,000 at most"),
        (None, "There is no picture at"),
    ],
)
async def test_what_can_t_be_started_from_is_refused(
    new_run: NewRun, storage: Storage, owner: str, tmp_path: Path, data: bytes | None, said: str
) -> None:
    if data:
        storage.outputs.put(f"images/{owner}/x.png", data)
    run = new_run(init_image=f"images/{owner}/x.png")
    strict = replace(run, settings=run.settings.model_copy(update={"max_upload_bytes": 1000}))
    engine = SquareEngine()
    with pytest.raises((InvalidRequest, NotFound), match=said):
        await work_of(engine, tmp_path)(strict)
    assert not engine.drawings


async def test_what_was_finished_before_a_failure_is_kept(
    new_run: NewRun, storage: Storage, owner: str, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="broke"):
        await work_of(SquareEngine(EngineError("It broke.")), tmp_path)(new_run(count=3))
    assert len(storage.outputs.list_page(record_prefix(owner))) == 2


async def test_a_cancelled_run_ends_at_once_and_keeps_what_was_finished(
    new_run: NewRun, storage: Storage, owner: str, tmp_path: Path
) -> None:
    engine = SquareEngine(hang=True)
    running = asyncio.create_task(work_of(engine, tmp_path)(new_run(count=2)))
    await engine.drew.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 3)
    assert len(storage.outputs.list_page(record_prefix(owner))) == 1
