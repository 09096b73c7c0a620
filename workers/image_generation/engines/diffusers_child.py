"""The child process of the diffusers engine: loads a base model once, then draws what its standard input orders.

Run as `python -m workers.image_generation.engines.diffusers_child IDLE_SECONDS`. It leaves after so long without work,
and at once when its standard input closes: then the worker that started it is gone.
"""

import gc
import inspect
import os
import queue
import sys
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from backend.contract import BaseModelSpec
from backend.errors import AtelierError, EngineError, LoraRejected, OutOfMemory, WeightsError
from workers.image_generation.engines import Drawing, LoraInUse, PictureToDraw
from workers.image_generation.engines.conversation import MARK, Failure, Order, Said
from workers.image_generation.engines.diffusers_loras import Adapters
from workers.image_generation.engines.diffusers_preview import Previewer

if TYPE_CHECKING:
    import numpy
    import torch
    from PIL import Image

STEP_EVERY_S = 0.2
# As Stable Diffusion web UIs spell them, so that they can be picked there.
_SAMPLERS = {
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "EulerDiscreteScheduler": "Euler",
    "FlowMatchEulerDiscreteScheduler": "Euler",
}
_FAILURES: tuple[tuple[type[AtelierError], Failure], ...] = (
    (LoraRejected, "lora"),
    (OutOfMemory, "out of memory"),
    (WeightsError, "weights"),
)
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class Cancelled(Exception):
    """The worker wants no more of this drawing."""


class Inbox:
    """Orders as they come in. A thread reads them, so that a cancel is seen while a picture is being made."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._drawings: queue.Queue[Drawing] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def next_drawing(self, idle_s: float) -> Drawing | None:
        """Return the next drawing to make, or None when there was nothing to do for so long."""
        try:
            return self._drawings.get(timeout=idle_s)
        except queue.Empty:
            return None

    def _read(self) -> NoReturn:
        try:
            for line in sys.stdin:
                order = Order.model_validate_json(line)
                if order.do == "bye":
                    break
                if order.do == "cancel":
                    self.cancelled.set()
                elif order.drawing:
                    self.cancelled.clear()
                    self._drawings.put(order.drawing)
        except Exception:
            traceback.print_exc()
            os._exit(1)  # orders that can't be read: a fresh child serves the worker better
        os._exit(0)  # in the middle of whatever the other thread does: nobody waits for it


class WarmModel:
    """The pipeline of one base model on its device, with the LoRAs of the last few requests."""

    def __init__(self, folder: Path, spec: BaseModelSpec) -> None:
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        from workers.pipelines import best_device, load_pipeline

        # Bars that nobody sees move would fill the run's log.
        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        self.folder = folder
        self._spec = spec
        self._pipeline: Any = load_pipeline(folder, *best_device())
        self._adapters = Adapters(self._pipeline, spec.name)
        scheduler = type(self._pipeline.scheduler).__name__
        self.sampler = _SAMPLERS.get(scheduler, scheduler)

    def use(self, loras: list[LoraInUse]) -> None:
        """Let these LoRAs act, and no others. Raises LoraRejected for one that doesn't fit."""
        self._adapters.use(loras)

    def draw(self, drawing: Drawing, wanted: PictureToDraw, on_step: Any) -> "numpy.ndarray[Any, Any]":
        """Return one picture: float32, shape (height, width, 3), 0 to 1.

        `on_step` is told the number of each step that is done, the pipeline and its latents. It may raise to end it.

        Pictures are made one at a time: in a batch a seed's pixels depend on its neighbours wherever the arithmetic
        of a matrix product depends on its size (seen with float32 on a CPU). A batch of four tiny pictures would
        take two thirds of the time of four single ones.
        """
        import torch

        def step_end(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(step + 1, pipeline, tensors["latents"])
            return tensors

        generator = torch.Generator("cpu").manual_seed(wanted.seed)  # the same noise on every device
        pipeline = self._pipeline if drawing.init_image is None else self._from_picture()
        arguments = _arguments(drawing, drawing.prompt_of(wanted.index), pipeline) | {
            "generator": generator,
            "callback_on_step_end": step_end,
        }
        picture: numpy.ndarray[Any, Any] = pipeline(**arguments).images[0]
        return picture

    def _from_picture(self) -> Any:
        """Return the pipeline that starts from a picture, made of the same parts. Raises EngineError without one."""
        from diffusers import AutoPipelineForImage2Image

        try:
            pipeline = AutoPipelineForImage2Image.from_pipe(self._pipeline)
        except ValueError:
            pipeline = None
        # Some take a picture to heed, as a prompt is heeded, and not to start from.
        if pipeline is None or "strength" not in inspect.signature(pipeline.__call__).parameters:
            raise EngineError(f"{self._spec.name} can't start from a picture.", "Leave the picture out.")
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def _arguments(drawing: Drawing, prompt: str, pipeline: Any) -> dict[str, Any]:
    asked = {
        "prompt": prompt,
        "width": drawing.width,
        "height": drawing.height,
        "num_inference_steps": drawing.steps,
        "guidance_scale": drawing.guidance,
        "max_sequence_length": drawing.spec.max_sequence_length,
        "output_type": "np",
    }
    if drawing.negative_prompt:
        asked["negative_prompt"] = drawing.negative_prompt
        # Pipelines with a guidance embedding heed a negative prompt only beside this.
        asked["true_cfg_scale"] = drawing.spec.diffusers.get("true_cfg_scale", drawing.guidance)
    if drawing.init_image:
        # The first steps of the schedule are left out: it is so much longer that those asked for remain, as in ComfyUI.
        schedule = int(drawing.steps / drawing.denoise)
        asked |= {"num_inference_steps": schedule, "strength": drawing.steps / schedule}
        asked["image"] = _opened(drawing.init_image)
    takes = inspect.signature(pipeline.__call__).parameters
    return {name: value for name, value in asked.items() if name in takes}


def _opened(path: Path) -> "Image.Image":
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


class Artist:
    """Makes drawings and says how it goes."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._model: WarmModel | None = None
        self._said_step_at = 0.0

    def work(self, drawing: Drawing) -> None:
        """Make a drawing; whatever happens, say how it ended."""
        try:
            self._draw(drawing)
        except Cancelled:
            say(Said(event="cancelled"))
        except AtelierError as error:
            self._fail(error)
        except Exception as error:
            traceback.print_exc()
            self._forget_model()
            self._fail(_explained(error, drawing))
        else:
            say(Said(event="done"))

    def _draw(self, drawing: Drawing) -> None:
        model = self._model_of(drawing)
        self._check_cancelled()
        model.use(drawing.loras)
        say(Said(event="generating"))
        previewer = Previewer((drawing.width, drawing.height))
        for wanted in drawing.pictures:
            previewer.begin_picture()
            pixels = model.draw(drawing, wanted, partial(self._step, drawing, wanted.index, previewer))
            path = _write(_checked(pixels, drawing, wanted), drawing.folder / f"{wanted.index}.bmp")
            say(Said(event="picture", index=wanted.index, path=path, sampler=model.sampler))
            self._check_cancelled()

    def _model_of(self, drawing: Drawing) -> WarmModel:
        if self._model is None or self._model.folder != drawing.weights:
            say(Said(event="loading"))
            self._forget_model()  # first: two at once may be too much
            self._model = WarmModel(drawing.weights, drawing.spec)
        return self._model

    def _forget_model(self) -> None:
        import torch

        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _step(
        self, drawing: Drawing, index: int, previewer: Previewer, step: int, pipeline: Any, latents: "torch.Tensor"
    ) -> None:
        self._check_cancelled()
        now = time.monotonic()
        if now - self._said_step_at >= STEP_EVERY_S or step == drawing.steps:
            self._said_step_at = now
            say(Said(event="step", step=step))
        if jpeg := previewer.after_step(pipeline, latents):
            path = drawing.folder / f"{index}-{step}.preview.jpg"
            path.write_bytes(jpeg)
            say(Said(event="preview", index=index, path=path))

    def _check_cancelled(self) -> None:
        if self._inbox.cancelled.is_set():
            raise Cancelled

    def _fail(self, error: AtelierError) -> None:
        failure = next((name for kind, name in _FAILURES if isinstance(error, kind)), "engine")
        say(Said(event="failed", failure=failure, message=error.message[:1000], hint=error.hint[:300]))


def say(said: Said) -> None:
    """Write a line to the worker, whole, and on a line of its own whatever a library has just written."""
    os.write(1, f"\n{MARK}{said.model_dump_json()}\n".encode())


def main(idle_s: float) -> None:
    """Draw until there is nothing to do for `idle_s`."""
    inbox = Inbox()
    artist = Artist(inbox)
    while drawing := inbox.next_drawing(idle_s):
        artist.work(drawing)


def _checked(pixels: "numpy.ndarray[Any, Any]", drawing: Drawing, wanted: PictureToDraw) -> "numpy.ndarray[Any, Any]":
    """Return the pixels. Raises EngineError for a picture that shows nothing, which no library calls a failure."""
    import numpy

    hint = "Lower the LoRA's strength, or choose another seed." if drawing.loras else "Choose another seed."
    if not numpy.isfinite(pixels).all():
        raise EngineError(f"{drawing.spec.name} calculated no numbers for a picture (seed {wanted.seed}).", hint)
    if pixels.max() - pixels.min() < 2 / 255:
        raise EngineError(f"{drawing.spec.name} drew nothing but one colour (seed {wanted.seed}).", hint)
    return pixels


def _write(pixels: "numpy.ndarray[Any, Any]", path: Path) -> Path:
    from PIL import Image

    Image.fromarray((pixels * 255).round().astype("uint8")).save(path)
    return path


def _explained(error: Exception, drawing: Drawing) -> AtelierError:
    size = f"{drawing.width}x{drawing.height} pixels"
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY):
        return OutOfMemory(
            f"{drawing.spec.name} ran out of memory over a picture of {size}.",
            "Ask for a smaller picture or fewer LoRAs, or use a GPU with more memory.",
        )
    first_line = (str(error).splitlines() or [""])[0]
    return EngineError(f"{drawing.spec.name} failed while drawing: {type(error).__name__}: {first_line}.")


if __name__ == "__main__":
    main(float(sys.argv[1]))
