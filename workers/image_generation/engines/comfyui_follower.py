"""What ComfyUI says while it draws a picture, as a Watch is told it: steps so far, and the picture forming."""

import asyncio
import io
import time

from PIL import Image, UnidentifiedImageError

from workers.image_generation.comfyui_client import Ended, Event, Executing, Preview, Progress
from workers.image_generation.engines import Drawing, Watch
from workers.image_generation.workflow import Rendered

_STEP_EVERY_S = 0.2
_PREVIEW_EVERY_S = 1.0
_PREVIEW_PIXELS = 256


class Follower:
    """Turns ComfyUI's events about one picture into what a Watch is told."""

    def __init__(self, drawing: Drawing, place: int, watch: Watch) -> None:
        self.watch = watch
        self.prompt_id = ""
        self.began_at = 0.0  # when the steps began; 0 before
        self.ended = False
        self._drawing = drawing
        self._place = place
        self._samplers: tuple[str, ...] = ()
        self._stirred = asyncio.Event()
        self._next_step_at = self._next_preview_at = 0.0

    def begin(self, rendered: Rendered, prompt_id: str, stirred: asyncio.Event) -> None:
        """Follow this prompt from now on; `stirred` is set when its steps begin and when it has ended."""
        self.prompt_id, self._samplers, self._stirred = prompt_id, rendered.samplers, stirred
        self.began_at, self.ended = 0.0, False

    def hear(self, event: Event) -> None:
        if event.prompt_id not in ("", self.prompt_id):
            return
        match event:
            case Progress():
                self._step(event)
            case Preview():
                self._preview(event.image)
            case Ended() | Executing(node=None):
                self.ended = True
                self._stirred.set()

    def finish(self) -> None:
        """Say that the picture is done, whatever the websocket has told of it."""
        self._generating()
        self._tell(self._drawing.steps)

    def _generating(self) -> None:
        if not self.began_at:
            self.began_at = time.monotonic()
            self.watch.generating()
            self._stirred.set()

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
