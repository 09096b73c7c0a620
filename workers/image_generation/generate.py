"""One generation: settles the settings, brings LoRAs and weights here, lets an engine draw, stores what it drew."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from backend.contract import (
    MAX_SEED,
    BaseModelSpec,
    GeneratedImage,
    GenerationRequest,
    GenerationResult,
    GenerationSettings,
    ImageRecord,
)
from backend.errors import InvalidRequest
from backend.keys import ImageKeys
from backend.pictures import Limits, thumbnail
from backend.settings import Settings
from workers.image_generation.engines import Drawing, Engine, LoraInUse, Picture, PictureToDraw
from workers.image_generation.engines.comfyui import comfyui_engine
from workers.image_generation.engines.diffusers import DiffusersEngine
from workers.image_generation.init_image import fetch_init_image
from workers.image_generation.links import link_weights
from workers.image_generation.loras import CachedLora, LoraCache
from workers.image_generation.picture_file import (
    LoraNote,
    Recipe,
    encode_picture,
    model_hash,
    parameters_text,
    picture_size,
)
from workers.image_generation.workflow import workflow_of
from workers.runtime import Run, Work
from workers.weights import fetch_weights

ABANDON_S = 2.0  # a cancel ends within three seconds

# Brings what an engine loads of a base model to this machine, and returns the folder it lies in.
FetchWeights = Callable[[BaseModelSpec, Settings], Path]


def make_work(settings: Settings) -> Work[GenerationRequest]:
    """Return the work of this worker: one engine and one LoRA cache for as long as it lives."""
    loras = LoraCache(settings.atelier_home / "cache" / "loras")
    if settings.atelier_image_engine == "comfyui":
        return ImageGeneration(comfyui_engine(settings), loras, link_weights)
    return ImageGeneration(DiffusersEngine(), loras)


class ImageGeneration:
    """Makes the pictures of a request. Done twice, a run gives the same keys and, without a seed, the same seeds."""

    def __init__(self, engine: Engine, loras: LoraCache, fetch: FetchWeights = fetch_weights) -> None:
        self._engine = engine
        self._loras = loras
        self._fetch = fetch

    async def __call__(self, run: Run[GenerationRequest]) -> GenerationResult:
        """Do a run. Raises InvalidRequest, NotFound, and what fetching, the engine and storage raise."""
        started_at = time.monotonic()
        settings, notes = settle(run.request, run.spec)
        spec = _spec_to_draw(run)
        run.report.phase("fetching data")
        loras = await asyncio.to_thread(
            self._loras.fetch, run.storage.loras, [use.key for use in run.request.lora_uses]
        )
        init_image = await asyncio.to_thread(_fetch_init_image, run, settings)
        run.report.phase("fetching data", f"fetching {run.spec.name}")
        weights = await asyncio.to_thread(self._fetch, run.spec, run.settings)
        seeds = seeds_of(run, settings.count)
        drawing = Drawing(
            spec=spec,
            weights=weights,
            folder=run.folder,
            prompt=run.request.prompt,
            negative_prompt=run.request.negative_prompt if run.spec.negative_prompt else "",
            width=settings.width,
            height=settings.height,
            steps=settings.steps,
            guidance=settings.guidance,
            loras=_in_use(loras, run.request),
            init_image=init_image,
            denoise=settings.denoise if init_image else 1.0,
            pictures=_to_draw(run.request, seeds),
        )
        delivery = Delivery(run, drawing, loras)
        try:
            await self._engine.draw(drawing, delivery)
            run.report.phase("uploading")
            images = await delivery.images()
        finally:
            await delivery.abandon()
        return GenerationResult(
            run_id=run.keys.run_id,
            images=images,
            seconds=round(time.monotonic() - started_at, 2),
            phases=run.report.phases,
            notes=[*notes, *delivery.notes],
        )


class Delivery:
    """Follows a drawing: reports how it goes, and stores each picture as soon as it is finished."""

    def __init__(self, run: Run[GenerationRequest], drawing: Drawing, loras: Sequence[CachedLora]) -> None:
        self._run = run
        self._drawing = drawing
        self._loras = loras
        self._uploads: list[asyncio.Task[GeneratedImage]] = []
        self._generating_since = 0.0
        self.notes: list[str] = []

    async def images(self) -> list[GeneratedImage]:
        """Wait until everything is stored and return it in order."""
        return list(await asyncio.gather(*self._uploads))

    async def abandon(self) -> None:
        """Give uploads that are under way a moment: what is finished may as well be kept."""
        if self._uploads:
            done, _ = await asyncio.wait(self._uploads, timeout=ABANDON_S)
            for upload in done:
                upload.exception()  # looked at, so that asyncio doesn't log it once more

    def loading(self) -> None:
        self._run.report.phase("loading model")

    def generating(self) -> None:
        self._generating_since = time.monotonic()
        self._run.report.phase("generating")

    def step(self, step: int, steps: int) -> None:
        spent_s = time.monotonic() - self._generating_since
        self._run.report.step(step, steps, seconds_per_step=spent_s / step if step else None)

    def picture(self, picture: Picture) -> None:
        self._uploads.append(asyncio.create_task(asyncio.to_thread(self._store, picture)))

    def preview(self, index: int, jpeg: bytes) -> None:
        self._run.report.preview(index, jpeg)

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def log(self, line: str) -> None:
        self._run.report.log(line)

    def _store(self, picture: Picture) -> GeneratedImage:
        """Store picture, thumbnail and then the record, which says that the other two are there. Blocks."""
        request, outputs = self._run.request, self._run.storage.outputs
        keys = ImageKeys.of_run(request.owner, self._run.keys.run_id, picture.index, request.output_format)
        texts = {"parameters": self._parameters(picture), **picture.texts}
        encoded = encode_picture(picture.path, texts, request.output_format, request.output_quality)
        outputs.put(keys.image, encoded)
        outputs.put(keys.thumb, thumbnail(encoded))
        outputs.put_message(keys.record, self._record(picture, keys))
        width, height = picture_size(picture.path)  # a workflow may enlarge what it has drawn
        return GeneratedImage(
            key=keys.image,
            url=outputs.presign(keys.image),
            thumb_key=keys.thumb,
            width=width,
            height=height,
            seed=picture.seed,
        )

    def _parameters(self, picture: Picture) -> str:
        drawing = self._drawing
        notes = [
            LoraNote(cached.name, used.strength, cached.tensor_hash)
            for cached, used in zip(self._loras, drawing.loras, strict=True)
        ]
        return parameters_text(
            Recipe(
                prompt=drawing.prompt_of(picture.index),
                negative_prompt=drawing.negative_prompt,
                steps=drawing.steps,
                sampler=picture.sampler,
                guidance=drawing.guidance,
                seed=picture.seed,
                width=drawing.width,
                height=drawing.height,
                model=drawing.spec.id,
                model_hash=model_hash(drawing.weights),
                loras=notes,
                denoise=drawing.denoise if drawing.init_image else None,
            )
        )

    def _record(self, picture: Picture, keys: ImageKeys) -> ImageRecord:
        drawing, request = self._drawing, self._run.request
        return ImageRecord(
            id=keys.image_id,
            owner=request.owner,
            run_id=self._run.keys.run_id,
            key=keys.image,
            thumb_key=keys.thumb,
            prompt=drawing.prompt_of(picture.index),
            prompt_template=request.prompt if request.prompts else "",
            negative_prompt=drawing.negative_prompt,
            base_model=drawing.spec.id,
            loras=request.lora_uses,
            width=drawing.width,
            height=drawing.height,
            steps=drawing.steps,
            guidance=drawing.guidance,
            seed=picture.seed,
            init_image=request.init_image,
            denoise=drawing.denoise if request.init_image else None,
            created_at=time.time(),
        )


def settle(request: GenerationRequest, spec: BaseModelSpec) -> tuple[GenerationSettings, list[str]]:
    """Return the settings to draw with, and a sentence for each thing done otherwise than asked."""
    settings = request.settings_for(spec)
    width, height = settings.width, settings.height
    if width * height > spec.max_pixels:
        raise InvalidRequest(
            f"{width}x{height} is {width * height:,} pixels; {spec.name} draws {spec.max_pixels:,} at most.",
            "Choose a smaller size.",
        )
    notes = []
    asked = (request.width or spec.generation.width, request.height or spec.generation.height)
    if asked != (width, height):
        notes.append(
            f"The size was rounded from {asked[0]}x{asked[1]} to {width}x{height}: "
            f"{spec.name} needs multiples of {spec.size_multiple} pixels."
        )
    if request.negative_prompt and not spec.negative_prompt:
        notes.append(f"The negative prompt was left out: {spec.name} takes none.")
    return settings, notes


def seeds_of(run: Run[GenerationRequest], count: int) -> list[int]:
    """Return a seed for each picture: the one asked for and those behind it, else some that belong to this attempt.

    They don't change when the same attempt is done again, after its worker died say: the pictures stay what they were.
    """
    first = run.request.seed
    if first is None:
        name = f"{run.keys.run_id} {run.request.attempt}"
        first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return [(first + index) % (MAX_SEED + 1) for index in range(count)]


def _to_draw(request: GenerationRequest, seeds: list[int]) -> list[PictureToDraw]:
    own: Sequence[str | None] = request.prompts or [None] * len(seeds)
    return [
        PictureToDraw(index=index, seed=seed, prompt=prompt)
        for index, (seed, prompt) in enumerate(zip(seeds, own, strict=True))
    ]


def _spec_to_draw(run: Run[GenerationRequest]) -> BaseModelSpec:
    """Return the base model, with the request's own workflow if it has one. Raises InvalidRequest where none is run."""
    if run.request.workflow is not None and run.settings.atelier_image_engine != "comfyui":
        raise InvalidRequest("This worker draws without ComfyUI, so it can't run a workflow.", "Leave 'workflow' out.")
    return workflow_of(run.request, run.spec)


def _fetch_init_image(run: Run[GenerationRequest], settings: GenerationSettings) -> Path | None:
    """Bring the picture that this one starts from into the run's folder. Blocks."""
    if run.request.init_image is None:
        return None
    limits = Limits.of(run.settings)
    size = (settings.width, settings.height)
    return fetch_init_image(run.storage.outputs, run.request.init_image, size, limits, run.folder / "init.png")


def _in_use(loras: Sequence[CachedLora], request: GenerationRequest) -> list[LoraInUse]:
    return [
        LoraInUse(path=lora.path, name=lora.name, content_hash=lora.content_hash, strength=use.strength)
        for lora, use in zip(loras, request.lora_uses, strict=True)
    ]
