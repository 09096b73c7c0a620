"""ComfyUI as a child process: starts it on loopback, reads what its log says of weights and LoRAs, and ends it."""

import asyncio
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from backend.errors import EngineDied, MachineError
from workers.environment import child_environment
from workers.guard import Guard
from workers.image_generation.comfyui_client import ComfyUIClient
from workers.processes import Child, describe_exit, start_child

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MISSING = re.compile(r"\b(unet|clip) missing: (.*)")
# What Stable Diffusion's own checkpoints leave out, to no harm.
_HARMLESS = re.compile(r"text_projection|logit_scale")
_UNMATCHED = re.compile(r"lora key not loaded: (\S+)")
_MISSHAPEN = re.compile(
    r"ERROR (?:lora|loha|lokr|glora|oft|boft) (\S+) .*|WARNING SHAPE MISMATCH (\S+) WEIGHT NOT MERGED"
)


class Remarks:
    """What ComfyUI's log has said since the prompt began; its history says "success" all the same."""

    def __init__(self) -> None:
        self.missing_weights = ""
        self.unmatched: set[str] = set()  # tensors of LoRAs that found no place
        self.misshapen = ""

    def read(self, line: str) -> None:
        if missing := _MISSING.search(line):
            names = re.findall(r"'([^']+)'", missing[2]) or [missing[2]]
            serious = [name for name in names if not _HARMLESS.search(name)]
            if serious:
                self.missing_weights = f"{missing[1]} lacks {len(serious)} tensors, such as {serious[0]}"
        elif unmatched := _UNMATCHED.search(line):
            self.unmatched.add(unmatched[1])
        elif misshapen := _MISSHAPEN.search(line):
            self.misshapen = self.misshapen or misshapen[1] or misshapen[2]


class ComfyUIProcess:
    """A running ComfyUI, made by `start`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.client = ComfyUIClient(f"http://127.0.0.1:{port}")
        self.output = folder / "output"
        self.version = ""
        self.base_model = ""  # the one it has drawn with last, whose weights it still holds
        self.remarks = Remarks()
        self.on_line: Callable[[str], None] | None = None
        self.stirred = asyncio.Event()  # something has happened that is worth a look at the history
        self.folder = folder
        self._child: Child
        self._guard: Guard
        self._end_watch: asyncio.Task[None]

    @classmethod
    async def start(cls, command: Sequence[str | Path], timeout_s: float) -> Self:
        """Start ComfyUI and wait until it answers. Raises EngineDied, with its last words, when it does not."""
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="comfyui-"))
        port = _free_port()
        process = cls(folder, port)
        try:
            await process._start([*command, *_arguments(folder, port)], timeout_s)
        except MachineError as error:
            await process.end()
            raise EngineDied(error.message, error.hint or "The worker's log has more.") from error
        except BaseException:
            await process.end()
            raise
        return process

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    async def end(self) -> None:
        """Kill it and remove its folder."""
        if hasattr(self, "_child"):
            await self._child.stop(0)
        await self.client.close()
        if hasattr(self, "_guard"):
            await asyncio.to_thread(self._guard.close)
            del self._guard
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def last_words(self) -> str:
        """Say how it ended, for an error."""
        lines = _COLOUR.sub("", " | ".join(self._child.last_lines(3)))[-500:]
        said = f" Its last words: {lines}" if lines else ""
        return f"ComfyUI {describe_exit(await self._child.wait())} in the middle of its work.{said}"

    async def _start(self, command: Sequence[str | Path], timeout_s: float) -> None:
        await asyncio.to_thread(_make_folders, self.folder)
        # Nobody reads its input's end: after a kill -9 of ours only the guard would end it.
        self._guard = Guard()  # in a thread, a cancel would leave it behind
        self._child = await start_child(
            command,
            # It has a package named `app`, as we do: its folder and its search path are its own.
            environment=child_environment({"HOME": str(self.folder), "PYTHONUNBUFFERED": "1"}),
            name="ComfyUI",
            folder=self.folder,
            guard=self._guard,
            on_line=self._read_line,
        )
        self._end_watch = asyncio.create_task(self._note_end())
        await self._child.wait_until_ready(self._answers, timeout_s)

    async def _answers(self) -> bool:
        try:
            self.version = await self.client.version()
        except EngineDied:
            return False
        return True

    async def _note_end(self) -> None:
        await self._child.wait()
        self.stirred.set()

    def _read_line(self, line: str) -> None:
        line = _COLOUR.sub("", line)
        self.remarks.read(line)
        if self.on_line is not None:
            self.on_line(line)


def _arguments(folder: Path, port: int) -> list[str]:
    return [
        "--listen", "127.0.0.1",
        "--port", str(port),
        "--output-directory", str(folder / "output"),
        "--input-directory", str(folder / "input"),
        "--temp-directory", str(folder / "temp"),
        "--user-directory", str(folder / "user"),
        "--preview-method", "latent2rgb",
        "--disable-auto-launch",
        "--disable-metadata",
    ]  # fmt: skip


def _make_folders(folder: Path) -> None:
    for name in ("output", "input", "temp", "user"):
        (folder / name).mkdir(exist_ok=True)


def _free_port() -> int:
    # Somebody may take it before ComfyUI does: then its start fails and is tried again, with another one.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
