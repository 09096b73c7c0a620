"""The ComfyUI engine: keeps one ComfyUI running, gives it one prompt at a time, and says in words how each ended.

How one prompt goes is the business of `comfyui_prompt`.
"""

import asyncio
import json
import logging
import re
import shlex
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from backend.contract import BaseModelSpec
from backend.errors import EngineDied, EngineError, LoraRejected, OutOfMemory, WeightsError
from backend.settings import Settings
from workers.image_generation.engines import Drawing, Picture, PictureToDraw, Watch
from workers.image_generation.engines.comfyui_fit import HINT, check_sizes, misfit_in, model_sizes
from workers.image_generation.engines.comfyui_follower import Follower
from workers.image_generation.engines.comfyui_loras import place_lora, tidy
from workers.image_generation.engines.comfyui_output import remove_files, take_picture
from workers.image_generation.engines.comfyui_process import ComfyUIProcess, Remarks
from workers.image_generation.engines.comfyui_prompt import check_outcome, run_prompt
from workers.image_generation.workflow import Asked, render
from workers.image_generation.workflow_nodes import LoraName

START_TIMEOUT_S = 300.0
LOAD_TIMEOUT_S = 900.0  # 34 GB from a network volume take minutes
PICTURE_TIMEOUT_S = 900.0
# As other tools call them.
_SAMPLERS = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "lms": "LMS",
    "ddim": "DDIM",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_sde": "DPM++ SDE",
    "uni_pc": "UniPC",
}
_log = logging.getLogger(__name__)


class ComfyUIEngine:
    """An Engine on ComfyUI. `command` starts it, `models` is its models folder. Belongs to the loop it is used in."""

    def __init__(
        self,
        command: Sequence[str | Path],
        models: Path,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        picture_timeout_s: float = PICTURE_TIMEOUT_S,
    ) -> None:
        self._command = list(command)
        self._models = models
        self._loras = models / "loras"
        self._start_timeout_s = start_timeout_s
        self._load_timeout_s = load_timeout_s
        self._picture_timeout_s = picture_timeout_s
        self._turn = asyncio.Lock()
        self._process: ComfyUIProcess | None = None
        # LoRAs by content and base model. ComfyUI logs a misfit once and keeps the outcome, so it is remembered here.
        self._misfits: dict[tuple[str, str], str] = {}

    @property
    def pid(self) -> int | None:
        """ComfyUI's process id while it runs."""
        return self._process.pid if self._process and self._process.running else None

    @property
    def url(self) -> str | None:
        """Where ComfyUI answers while it runs."""
        return self._process.client.url if self._process and self._process.running else None

    async def draw(self, drawing: Drawing, watch: Watch) -> None:
        """Make every picture of a drawing; see Engine. What dies is started again once; so is what lacks memory."""
        async with self._turn:
            self._refuse_misfits(drawing)
            names = await asyncio.to_thread(self._place, drawing)
            tried: set[type[EngineError]] = set()
            watch.loading()
            for place, picture in enumerate(drawing.pictures):
                follower = Follower(drawing, place, watch)
                while not await self._drawn(drawing, picture, names, follower, tried):
                    pass

    async def close(self) -> None:
        """End ComfyUI."""
        if self._process:
            await self._process.end()
            self._process = None

    async def _drawn(
        self,
        drawing: Drawing,
        picture: PictureToDraw,
        loras: list[LoraName],
        follower: Follower,
        tried: set[type[EngineError]],
    ) -> bool:
        """Make a picture; return False when it is worth another try, which a drawing gets once for each cause."""
        process = None
        try:
            process = await self._running(follower.watch)
            _check_version(process, drawing.spec)
            await self._draw_one(process, drawing, picture, loras, follower)
        except (EngineDied, OutOfMemory) as error:
            if type(error) in tried:
                raise
            tried.add(type(error))
            follower.watch.log(f"{error.message} It is tried once more.")
            _log.warning("%s It is tried once more.", error.message)
            if process and isinstance(error, OutOfMemory):
                await process.client.free()
            elif process:
                await process.end()
            return False
        finally:
            if process:
                process.on_line = None
        return True

    async def _running(self, watch: Watch) -> ComfyUIProcess:
        """Return ComfyUI, started if it isn't running."""
        if self._process and self._process.running:
            self._process.on_line = watch.log
            return self._process
        watch.loading()
        if self._process:
            await self._process.end()
            self._process = None
        self._process = await ComfyUIProcess.start(self._command, self._start_timeout_s)
        watch.log(f"ComfyUI {self._process.version} is running.")
        self._process.on_line = watch.log
        return self._process

    async def _draw_one(
        self,
        process: ComfyUIProcess,
        drawing: Drawing,
        picture: PictureToDraw,
        loras: list[LoraName],
        follower: Follower,
    ) -> None:
        prefix = f"atelier-{uuid.uuid4().hex}"  # its own, so that nothing cached names an older file
        process.remarks = Remarks()
        try:
            init_image = await _upload(process, drawing, prefix)
            rendered = render(drawing.spec, _asked(drawing, picture, loras, init_image, prefix))
            for field in rendered.left_out:
                follower.watch.note(f"The workflow shows no place for the {field.replace('_', ' ')}: its own stays.")
            warm = process.base_model == drawing.spec.id
            history = await run_prompt(
                process,
                rendered,
                follower,
                lambda: self._check_remarks(process, drawing),
                load_timeout_s=self._picture_timeout_s if warm else self._load_timeout_s,
                picture_timeout_s=self._picture_timeout_s,
            )
            check_outcome(history)
            await self._check_remarks(process, drawing)
            path = drawing.folder / f"{picture.index}.png"
            await asyncio.to_thread(take_picture, process.output, history, rendered.save_node, path)
        except WeightsError:
            await process.end()  # it would go on with what it has
            raise
        finally:
            await asyncio.to_thread(remove_files, process.folder, prefix)
        process.base_model = drawing.spec.id
        follower.finish()
        texts = {"prompt": json.dumps(rendered.graph)}
        sampler = _SAMPLERS.get(rendered.sampler, rendered.sampler)
        follower.watch.picture(Picture(picture.index, picture.seed, path, sampler, texts))

    # -------------------------------------------------------------------------------- LoRAs and weights

    def _place(self, drawing: Drawing) -> list[LoraName]:
        """Put the LoRAs where ComfyUI finds them. Raises LoraRejected for one made for another base model."""
        acting = [lora for lora in drawing.loras if lora.strength]
        if acting and (sizes := model_sizes(drawing.spec, self._models)):
            for lora in acting:
                check_sizes(lora, sizes, drawing.spec.name)
        names = [LoraName(place_lora(lora, self._loras), lora.strength) for lora in drawing.loras]
        if names:
            tidy(self._loras, [name.file for name in names])
        return names

    def _refuse_misfits(self, drawing: Drawing) -> None:
        for lora in drawing.loras:
            if lora.strength and (misfit := self._misfits.get((lora.content_hash, drawing.spec.id))):
                raise LoraRejected(misfit, HINT)

    async def _check_remarks(self, process: ComfyUIProcess, drawing: Drawing) -> None:
        """Raise what ComfyUI only wrote into its log."""
        remarks = process.remarks
        if remarks.missing_weights:
            raise WeightsError(
                f"The weights of {drawing.spec.name} are incomplete: {remarks.missing_weights}.",
                "Remove the file from the volume and let it be fetched again; a shard alone can't be used.",
            )
        if not remarks.unmatched and not remarks.misshapen:
            return
        for lora in drawing.loras:
            if misfit := await asyncio.to_thread(misfit_in, remarks, lora, drawing):
                self._misfits[lora.content_hash, drawing.spec.id] = misfit
        self._refuse_misfits(drawing)


def comfyui_engine(settings: Settings) -> ComfyUIEngine:
    """Return the engine for the ComfyUI that the settings name."""
    program = (settings.comfyui_python or sys.executable, str(settings.comfyui_path / "main.py"))
    return ComfyUIEngine([*program, *shlex.split(settings.comfyui_arguments)], settings.comfyui_path / "models")


def _check_version(process: ComfyUIProcess, spec: BaseModelSpec) -> None:
    """Raise EngineError where ComfyUI is older than a base model: it would draw nonsense, or fail in a sampler."""
    if spec.comfyui_since and process.version and _numbers(process.version) < _numbers(spec.comfyui_since):
        raise EngineError(
            f"{spec.name} needs ComfyUI {spec.comfyui_since} or newer; this worker has {process.version}.",
            "Build the worker's image on a newer base (--build-arg BASE_IMAGE=…), or choose another base model.",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


async def _upload(process: ComfyUIProcess, drawing: Drawing, prefix: str) -> str:
    """Hand over the picture to start from, and return what ComfyUI calls it; '' without one."""
    if drawing.init_image is None:
        return ""
    return await process.client.upload(f"{prefix}.png", await asyncio.to_thread(drawing.init_image.read_bytes))


def _asked(drawing: Drawing, picture: PictureToDraw, loras: list[LoraName], init_image: str, prefix: str) -> Asked:
    # One picture a prompt: each has a seed of its own, so that it can be made again alone.
    return Asked(
        prompt=drawing.prompt_of(picture.index),
        negative_prompt=drawing.negative_prompt,
        seed=picture.seed,
        steps=drawing.steps,
        guidance=drawing.guidance,
        width=drawing.width,
        height=drawing.height,
        filename_prefix=prefix,
        init_image=init_image,
        denoise=drawing.denoise if init_image else None,
        loras=loras,
    )
