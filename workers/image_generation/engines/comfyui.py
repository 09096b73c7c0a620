"""The ComfyUI engine: keeps one ComfyUI running, gives it one prompt at a time, and says in words how each ended.

Its history is the truth; the websocket only tells how far a picture is and what it looks like so far.
"""

import asyncio
import contextlib
import io
import json
import logging
import shlex
import shutil
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from backend.errors import EngineDied, EngineError, LoraRejected, OutOfMemory, WeightsError
from backend.settings import Settings
from workers.image_generation.comfyui_client import (
    ComfyUIClient,
    Ended,
    Event,
    Executing,
    History,
    Preview,
    Progress,
)
from workers.image_generation.engines import Drawing, LoraInUse, Picture, PictureToDraw, Watch
from workers.image_generation.engines.comfyui_loras import place_lora, tensor_names, tidy
from workers.image_generation.engines.comfyui_process import ComfyUIProcess, Remarks
from workers.image_generation.workflow import Asked, LoraName, Rendered, render

START_TIMEOUT_S = 300.0
LOAD_TIMEOUT_S = 900.0  # 34 GB from a network volume take minutes
PICTURE_TIMEOUT_S = 900.0
CANCEL_GRACE_S = 2.0  # a cancel ends within three seconds
POLL_EVERY_S = 0.5
_LOOK_AGAIN_S = 0.02  # the history may lag behind the event that says it is there
_LOST_AFTER_S = 2.0  # neither in the queue nor in the history
_CONNECT_S = 2.0
_STEP_EVERY_S = 0.2
_PREVIEW_EVERY_S = 1.0
_PREVIEW_PIXELS = 256
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
            names = await asyncio.to_thread(self._place, drawing.loras)
            tried: set[type[EngineError]] = set()
            for place, picture in enumerate(drawing.pictures):
                follower = _Follower(drawing, place, watch)
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
        follower: "_Follower",
        tried: set[type[EngineError]],
    ) -> bool:
        """Make a picture; return False when it is worth another try, which a drawing gets once for each cause."""
        process = None
        try:
            process = await self._running(follower.watch)
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
        watch.loading()
        if self._process and self._process.running:
            self._process.on_line = watch.log
            return self._process
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
        follower: "_Follower",
    ) -> None:
        prefix = f"atelier-{uuid.uuid4().hex}"  # its own, so that nothing cached names an older file
        rendered = render(drawing.spec, _asked(drawing, picture, loras, prefix))
        for field in rendered.left_out:
            follower.watch.log(f"The workflow has no place for '{field}'; its own stays.")
        process.remarks = Remarks()
        try:
            history = await self._run(process, rendered, drawing, follower)
            _check_outcome(history)
            await self._check_remarks(process, drawing)
            path = drawing.folder / f"{picture.index}.png"
            await asyncio.to_thread(_take, process.output, history, rendered.save_node, path)
        finally:
            await asyncio.to_thread(_remove_outputs, process.output, prefix)
        process.base_model = drawing.spec.id
        follower.finish()
        texts = {"prompt": json.dumps(rendered.graph)}
        sampler = _SAMPLERS.get(rendered.sampler, rendered.sampler)
        follower.watch.picture(Picture(picture.index, picture.seed, path, sampler, texts))

    async def _run(
        self, process: ComfyUIProcess, rendered: Rendered, drawing: Drawing, follower: "_Follower"
    ) -> History:
        """Run a graph to its end, well or not. Raises EngineError when its deadline passes."""
        client_id, prompt_id = uuid.uuid4().hex, str(uuid.uuid4())
        process.stirred.clear()
        follower.begin(rendered, prompt_id, process.stirred)
        async with _listening(process.client, client_id, follower.hear):
            try:
                prompt_id = await process.client.submit(rendered.graph, prompt_id, client_id)
                follower.prompt_id = prompt_id
                warm = process.base_model == drawing.spec.id
                timeout_s = self._picture_timeout_s if warm else self._load_timeout_s
                history = await self._await_history(process, prompt_id, follower, timeout_s)
            except asyncio.CancelledError:
                await _cancel(process, prompt_id)
                raise
            except EngineDied as error:
                if process.running:
                    raise
                raise await _died(process) from error
        with contextlib.suppress(EngineError):
            await process.client.forget(prompt_id)
        return history

    async def _await_history(
        self, process: ComfyUIProcess, prompt_id: str, follower: "_Follower", timeout_s: float
    ) -> History:
        started_at = last_seen = time.monotonic()
        while True:
            if history := await _look(process, prompt_id):
                return history
            if not process.running:
                raise await _died(process)
            now = time.monotonic()
            if await _is_queued(process, prompt_id):
                last_seen = now
            elif now - last_seen > _LOST_AFTER_S:
                raise EngineDied("ComfyUI has lost the prompt: it is neither in its queue nor in its history.")
            since, limit_s = (
                (follower.began_at, self._picture_timeout_s) if follower.began_at else (started_at, timeout_s)
            )
            if now - since > limit_s:
                await process.end()
                raise EngineError(
                    f"ComfyUI took more than {limit_s:g} s over a picture and was stopped.",
                    "Ask for a smaller picture or fewer steps.",
                )
            if process.stirred.is_set():
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.stirred.wait(), min(POLL_EVERY_S, since + limit_s - now + 0.01))

    # -------------------------------------------------------------------------------- LoRAs and weights

    def _place(self, loras: Sequence[LoraInUse]) -> list[LoraName]:
        names = [LoraName(place_lora(lora, self._loras), lora.strength) for lora in loras]
        if names:
            tidy(self._loras, [name.file for name in names])
        return names

    def _refuse_misfits(self, drawing: Drawing) -> None:
        for lora in drawing.loras:
            if lora.strength and (misfit := self._misfits.get((lora.content_hash, drawing.spec.id))):
                raise LoraRejected(misfit, "Choose a LoRA that was trained on this base model.")

    async def _check_remarks(self, process: ComfyUIProcess, drawing: Drawing) -> None:
        """Raise what ComfyUI only wrote into its log."""
        remarks = process.remarks
        if remarks.missing_weights:
            await process.end()  # it would go on with what it has
            raise WeightsError(
                f"The weights of {drawing.spec.name} are incomplete: {remarks.missing_weights}.",
                "Remove the file from the volume and let it be fetched again; a shard alone can't be used.",
            )
        if not remarks.unmatched and not remarks.misshapen:
            return
        for lora in drawing.loras:
            if misfit := await asyncio.to_thread(_misfit, lora, remarks, drawing):
                self._misfits[lora.content_hash, drawing.spec.id] = misfit
        self._refuse_misfits(drawing)


class _Follower:
    """Turns ComfyUI's events about one picture into what a Watch is told."""

    def __init__(self, drawing: Drawing, place: int, watch: Watch) -> None:
        self.watch = watch
        self.prompt_id = ""
        self.began_at = 0.0  # when the steps began; 0 before
        self._drawing = drawing
        self._place = place
        self._samplers: tuple[str, ...] = ()
        self._stirred = asyncio.Event()
        self._next_step_at = self._next_preview_at = 0.0

    def begin(self, rendered: Rendered, prompt_id: str, stirred: asyncio.Event) -> None:
        """Follow this prompt from now on; `stirred` is set when it has ended."""
        self.prompt_id, self._samplers, self._stirred, self.began_at = prompt_id, rendered.samplers, stirred, 0.0

    def hear(self, event: Event) -> None:
        if event.prompt_id not in ("", self.prompt_id):
            return
        match event:
            case Progress():
                self._step(event)
            case Preview():
                self._preview(event.image)
            case Ended() | Executing(node=None):
                self._stirred.set()

    def finish(self) -> None:
        """Say that the picture is done, whatever the websocket has told of it."""
        self._generating()
        self._tell(self._drawing.steps)

    def _generating(self) -> None:
        if not self.began_at:
            self.began_at = time.monotonic()
            self.watch.generating()

    def _step(self, progress: Progress) -> None:
        if progress.node and progress.node not in self._samplers:
            return
        self._generating()
        if time.monotonic() >= self._next_step_at:
            self._next_step_at = time.monotonic() + _STEP_EVERY_S
            self._tell(progress.value * self._drawing.steps // max(1, progress.steps))

    def _tell(self, steps: int) -> None:
        count = self._drawing.steps
        self.watch.step(self._place * count + min(steps, count), len(self._drawing.pictures) * count)

    def _preview(self, image: bytes) -> None:
        if time.monotonic() < self._next_preview_at:
            return
        self._next_preview_at = time.monotonic() + _PREVIEW_EVERY_S
        if small := _small_jpeg(image):
            self.watch.preview(self._drawing.pictures[self._place].index, small)


def comfyui_engine(settings: Settings) -> ComfyUIEngine:
    """Return the engine for the ComfyUI that the settings name."""
    program = (settings.comfyui_python or sys.executable, str(settings.comfyui_path / "main.py"))
    return ComfyUIEngine([*program, *shlex.split(settings.comfyui_arguments)], settings.comfyui_path / "models")


def _asked(drawing: Drawing, picture: PictureToDraw, loras: list[LoraName], prefix: str) -> Asked:
    # One picture a prompt: each has a seed of its own, so that it can be made again alone.
    return Asked(
        prompt=drawing.prompt,
        negative_prompt=drawing.negative_prompt,
        seed=picture.seed,
        steps=drawing.steps,
        guidance=drawing.guidance,
        width=drawing.width,
        height=drawing.height,
        filename_prefix=prefix,
        loras=loras,
    )


@contextlib.asynccontextmanager
async def _listening(client: ComfyUIClient, client_id: str, hear: Callable[[Event], None]) -> AsyncIterator[None]:
    """Pass on events from before the first prompt to the end, through cuts; without them if there is no websocket."""
    tried = asyncio.Event()
    task = asyncio.create_task(_listen(client, client_id, hear, tried))
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(tried.wait(), _CONNECT_S)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _listen(client: ComfyUIClient, client_id: str, hear: Callable[[Event], None], tried: asyncio.Event) -> None:
    while True:
        with contextlib.suppress(EngineDied):
            async with client.listen(client_id) as events:
                tried.set()
                async for event in events:
                    hear(event)
        tried.set()
        await asyncio.sleep(POLL_EVERY_S)


async def _look(process: ComfyUIProcess, prompt_id: str) -> History | None:
    # A ComfyUI that is busy may not answer for a while; whether it is dead its process tells.
    with contextlib.suppress(EngineDied):
        return await process.client.history(prompt_id)
    return None


async def _is_queued(process: ComfyUIProcess, prompt_id: str) -> bool:
    try:
        queue = await process.client.queue()
    except EngineDied:
        return True  # not known; the deadline stands
    return prompt_id in queue.running | queue.pending


async def _cancel(process: ComfyUIProcess, prompt_id: str) -> None:
    """Stop a prompt, asking until ComfyUI confirms: an interrupt that comes too early is lost. Else kill it."""
    try:
        async with asyncio.timeout(CANCEL_GRACE_S):
            absent = 0
            while absent < 3:
                await process.client.cancel(prompt_id)
                queue = await process.client.queue()
                absent = 0 if prompt_id in queue.running | queue.pending else absent + 1
                if absent and await process.client.history(prompt_id):
                    return
                await asyncio.sleep(0.05)
    except (TimeoutError, EngineError):
        await process.end()


async def _died(process: ComfyUIProcess) -> EngineDied:
    return EngineDied(
        await process.last_words(),
        "If it happens again, the computer may be short of memory: ask for a smaller picture.",
    )


def _check_outcome(history: History) -> None:
    """Raise what a prompt ended with, unless it is a picture."""
    if history.outcome == "interrupted":
        raise EngineError("The prompt was interrupted in ComfyUI, and not by Cancel.", "Try again.")
    if history.outcome == "error" and "OutOfMemory" in history.error_type:
        raise OutOfMemory(
            f"The GPU ran out of memory in {history.node}.", "Ask for a smaller picture, or use a larger GPU."
        )
    if history.outcome == "error":
        said = f"{history.error_type}: {history.error}".strip(": ")
        raise EngineError(
            f"ComfyUI failed in {history.node or 'the workflow'}: {said or 'no reason given'}",
            "Check the weights and the workflow of this base model.",
        )


def _take(output: Path, history: History, save_node: str, target: Path) -> None:
    """Move the picture out of ComfyUI's folder. Raises EngineError when there is none, or when it shows nothing."""
    files = [file for file in history.outputs if file.node == save_node]
    if not files:
        raise EngineError("ComfyUI ended without a picture.", "Check that the workflow's SaveImage is reached.")
    source = (output / files[-1].subfolder / files[-1].filename).resolve()
    if not source.is_relative_to(output.resolve()) or not source.is_file():
        raise EngineError(f"ComfyUI names a picture that is not there: {files[-1].filename}.", "Try again.")
    with Image.open(source) as image:
        extremes = image.convert("RGB").getextrema()
    if all(low == high for low, high in extremes):  # type: ignore[misc]
        raise EngineError(
            "The picture came out in a single colour: the model calculated nonsense.",
            "Try another seed, a lower LoRA strength, or another size.",
        )
    shutil.move(source, target)


def _remove_outputs(output: Path, prefix: str) -> None:
    for path in output.rglob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def _misfit(lora: LoraInUse, remarks: Remarks, drawing: Drawing) -> str:
    """Say why a LoRA does not fit; nothing when it does. Blocks."""
    layers = {name for name in tensor_names(lora.path) if not name.endswith(".alpha")}
    if layers <= remarks.unmatched:
        example = min(layers, default="none")
        made_for = f"was made for another base model than {drawing.spec.name}"
        return f"The LoRA '{lora.name}' {made_for}: '{example}' has no place in it."
    if remarks.misshapen:
        alone = len(drawing.loras) == 1
        which = f"The LoRA '{lora.name}' does" if alone else f"'{lora.name}', or another of these LoRAs, does"
        return f"{which} not fit {drawing.spec.name}: '{remarks.misshapen}' has another size."
    return ""


def _small_jpeg(image: bytes) -> bytes:
    """Return a picture small enough to be shown while it forms; nothing if it can't be read."""
    buffer = io.BytesIO()
    try:
        with Image.open(io.BytesIO(image)) as opened:
            opened.thumbnail((_PREVIEW_PIXELS, _PREVIEW_PIXELS))
            opened.convert("RGB").save(buffer, "JPEG", quality=70)
    except (UnidentifiedImageError, OSError, ValueError):
        return b""
    return buffer.getvalue()
