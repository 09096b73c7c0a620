"""The diffusers engine: keeps a warm child process that holds a base model, and gives it one drawing at a time.

The child alone imports torch, so a cancel or a deadline can always end it and its memory goes back to the system.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from backend.errors import (
    AtelierError,
    EngineDied,
    EngineError,
    LoraRejected,
    MachineError,
    OutOfMemory,
    WeightsError,
)
from workers.environment import child_environment
from workers.image_generation.engines import Drawing, Picture, Watch
from workers.image_generation.engines.conversation import MARK, Failure, Order, Said
from workers.processes import Child, describe_exit, start_child

IDLE_S = 600.0  # without work for so long, the child leaves and gives its memory back
LOAD_TIMEOUT_S = 900.0  # 34 GB from a network volume take minutes
PICTURE_TIMEOUT_S = 900.0
CANCEL_GRACE_S = 2.0

_PROGRAM = "workers.image_generation.engines.diffusers_child"
_ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parents[3]),
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads of two workers on few cores make both many times slower
    "HF_HUB_OFFLINE": "1",  # what it loads lies in a folder
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_FAILURES: dict[Failure, type[AtelierError]] = {
    "engine": EngineError,
    "lora": LoraRejected,
    "out of memory": OutOfMemory,
    "weights": WeightsError,
}
_log = logging.getLogger(__name__)


class DiffusersEngine:
    """An Engine on diffusers. It belongs to the event loop it is first used in."""

    def __init__(
        self,
        *,
        idle_s: float = IDLE_S,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        picture_timeout_s: float = PICTURE_TIMEOUT_S,
    ) -> None:
        self._idle_s = idle_s
        self._load_timeout_s = load_timeout_s
        self._picture_timeout_s = picture_timeout_s
        self._turn = asyncio.Lock()
        self._warm: _WarmChild | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._warm.pid if self._warm and self._warm.running else None

    async def draw(self, drawing: Drawing, watch: Watch) -> None:
        """Make every picture of a drawing; see Engine. A child that dies is replaced once."""
        drawn: set[int] = set()
        async with self._turn:
            try:
                await self._draw_rest(drawing, drawn, watch)
            except EngineDied as error:
                watch.log(f"{error.message} It is started again.")
                _log.warning("%s It is started again.", error.message)
                await self._draw_rest(drawing, drawn, watch)

    async def close(self) -> None:
        """End the child."""
        if self._warm:
            await self._warm.end()

    async def _draw_rest(self, drawing: Drawing, drawn: set[int], watch: Watch) -> None:
        rest = [picture for picture in drawing.pictures if picture.index not in drawn]
        # A graph of ComfyUI's is nothing to the child, and long.
        spec = drawing.spec.model_copy(update={"workflow": {}})
        warm = await self._warm_child()
        warm.on_log = watch.log
        try:
            await warm.order(Order(do="draw", drawing=drawing.model_copy(update={"pictures": rest, "spec": spec})))
            await self._follow(warm, drawing, drawn, watch)
        except asyncio.CancelledError:
            await warm.cancel(CANCEL_GRACE_S)
            raise
        finally:
            warm.on_log = _ignore

    async def _follow(self, warm: "_WarmChild", drawing: Drawing, drawn: set[int], watch: Watch) -> None:
        """Pass on what the child says until the drawing has ended."""
        seeds = {picture.index: picture.seed for picture in drawing.pictures}
        waits_for, timeout_s = f"load {drawing.spec.name}", self._load_timeout_s
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    said = await warm.hear()
            except TimeoutError:
                await warm.end()
                raise EngineError(
                    f"The engine took more than {timeout_s:g} s to {waits_for} and was stopped.",
                    "Ask for a smaller picture or fewer steps.",
                ) from None
            if said.event == "loading":
                watch.loading()
            elif said.event == "step":
                watch.step(len(drawn) * drawing.steps + said.step, len(drawing.pictures) * drawing.steps)
            elif said.event == "preview" and said.path:
                watch.preview(said.index, said.path.read_bytes())
            elif said.event == "picture" and said.path:
                drawn.add(said.index)
                watch.picture(Picture(said.index, seeds[said.index], said.path, said.sampler))
            elif said.event == "generating":
                watch.generating()
            if said.event in ("generating", "picture"):
                waits_for, timeout_s = "make a picture", self._picture_timeout_s
                deadline = loop.time() + timeout_s
            if said.event == "failed":
                raise _FAILURES[said.failure](said.message, said.hint)
            if said.ends:
                return

    async def _warm_child(self) -> "_WarmChild":
        if self._warm and self._warm.running and not self._warm.busy:
            return self._warm
        if self._warm:
            # One that is still busy was left in the middle of something: nobody knows what it would say next.
            await self._warm.end()
        self._warm = await _WarmChild.start(self._idle_s)
        return self._warm


class _WarmChild:
    """A child process, what it has said and not been heard yet, and whether it is at work."""

    def __init__(self) -> None:
        self.busy = False
        self.on_log: Callable[[str], None] = _ignore
        self._heard: asyncio.Queue[Said | None] = asyncio.Queue()  # None: it has ended
        self._child: Child
        self._end_watch: asyncio.Task[None]

    @classmethod
    async def start(cls, idle_s: float) -> "_WarmChild":
        warm = cls()
        warm._child = await start_child(
            [sys.executable, "-m", _PROGRAM, str(idle_s)],
            environment=child_environment(_ENVIRONMENT),
            name="The image engine",
            on_line=warm._read_line,
            stdin=True,
        )
        warm._end_watch = asyncio.create_task(warm._note_end())
        return warm

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    async def order(self, order: Order) -> None:
        """Give an order. Raises EngineDied when nobody takes it."""
        self.busy = True
        try:
            await self._child.write(order.model_dump_json() + "\n")
        except MachineError as error:
            await self.end()
            raise EngineDied(error.message, error.hint) from error

    async def hear(self) -> Said:
        """Wait for the next thing it says. Raises EngineDied when it has ended."""
        said = await self._heard.get()
        if said is None:
            raise EngineDied(
                f"The image engine {describe_exit(await self._child.wait())} in the middle of its work."
                f"{self._last_words()}",
                "If it happens again, the computer may be short of memory: ask for a smaller picture.",
            )
        self.busy = not said.ends
        return said

    async def cancel(self, grace_s: float) -> None:
        """End what it is doing; kill it when it goes on for longer than `grace_s`."""
        try:
            async with asyncio.timeout(grace_s):
                await self.order(Order(do="cancel"))
                while self.busy:
                    await self.hear()
        except (TimeoutError, EngineDied):
            await self.end()

    async def end(self) -> None:
        """Kill it."""
        await self._child.stop(0)
        await self._end_watch

    async def _note_end(self) -> None:
        await self._child.wait()
        self._heard.put_nowait(None)

    def _read_line(self, line: str) -> None:
        if not line.startswith(MARK):
            _log.info("%s", line)
            self.on_log(line)
            return
        with contextlib.suppress(ValidationError):  # a line cut by another that was written at the same time
            self._heard.put_nowait(Said.model_validate_json(line.removeprefix(MARK)))

    def _last_words(self) -> str:
        lines = [line for line in self._child.last_lines() if not line.startswith(MARK)]
        return f" Its last words: {' | '.join(lines[-3:])[-500:]}" if lines else ""


def _ignore(line: str) -> None:
    """Nobody follows."""
