"""Brings what an engine makes to storage while it goes on: samples and checkpoints, one after the other."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from backend.contract import Checkpoint, Sample, TrainingRequest, TrainingSettings
from backend.errors import StorageError
from backend.storage import sha256_of
from workers.runtime import Run
from workers.training.lora_file import describe, stamp

FINISH_S = 1800.0


class Uploads:
    """A queue of files on their way; it reports each once it is there. Used from the event loop's thread alone."""

    def __init__(
        self, run: Run[TrainingRequest], settings: TrainingSettings, prompts: list[str], pictures: int, stem: str
    ) -> None:
        self._run, self._settings, self._prompts, self._pictures, self._stem = run, settings, prompts, pictures, stem
        self._queue: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._task = asyncio.create_task(self._work_off())
        self._stored: tuple[Path, ...] = ()  # the files of the newest checkpoint that is in storage
        self.last_checkpoint: tuple[int, Path] | None = None
        self.first_sample: tuple[int, Path] | None = None  # of the newest step

    def sample(self, step: int, index: int, path: Path) -> None:
        """Take a sample on."""
        if self.first_sample is None or self.first_sample[0] < step:
            self.first_sample = (step, path)
        self._queue.put_nowait(lambda: self._store_sample(step, index, path))

    def checkpoint(self, step: int, path: Path, state: Path | None) -> None:
        """Take a checkpoint on."""
        self.last_checkpoint = (step, path)
        self._queue.put_nowait(lambda: self._store_checkpoint(step, path, state))

    async def finish(self, timeout_s: float = FINISH_S) -> None:
        """Wait until everything is there. Raises StorageError when it takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        except TimeoutError:
            raise StorageError(
                f"What the training made was not stored within {timeout_s:g} s.",
                "Start it again; it continues from its last checkpoint.",
            ) from None

    async def close(self) -> None:
        """Give up what is still waiting."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _work_off(self) -> None:
        while True:
            store = await self._queue.get()
            try:
                await store()
            except Exception as error:
                # Training is worth more than one upload; the final file's own upload is what decides. Whatever
                # it was must not end this loop, which `finish` waits for.
                self._run.report.log(f"could not be stored: {type(error).__name__}: {error}")
            finally:
                self._queue.task_done()

    async def _store_sample(self, step: int, index: int, path: Path) -> None:
        key = self._run.keys.sample(step, index)
        await asyncio.to_thread(self._run.storage.loras.upload, key, path)
        self._run.report.sample(Sample(step=step, prompt=self._prompts[index], key=key))

    async def _store_checkpoint(self, step: int, path: Path, state: Path | None) -> None:
        checkpoint = await asyncio.to_thread(self._upload_checkpoint, step, path, state)
        self._run.report.checkpoint(checkpoint)

    def _upload_checkpoint(self, step: int, path: Path, state: Path | None) -> Checkpoint:
        """State first: a checkpoint that is in storage can be gone on from."""
        keys, bucket = self._run.keys, self._run.storage.loras
        stamped = path.with_suffix(".stamped")
        metadata = describe(
            self._run.request, self._run.spec, self._settings, step=step, pictures=self._pictures, stem=self._stem
        )
        stamp(path, stamped, metadata)
        if state:
            bucket.upload(keys.state(step), state, metadata={"sha256": sha256_of(state)})
        sha256, size = sha256_of(stamped), stamped.stat().st_size
        key = keys.checkpoint(self._stem, step)
        bucket.upload(key, stamped, metadata={"sha256": sha256})
        if state:
            bucket.delete([kept.key for kept in bucket.list_all(keys.states) if kept.key < keys.state(step)])
        stamped.unlink()
        # The newest stays: an engine may go on from it here, and the finished LoRA is made of it. All of them together
        # would fill the disk.
        files = (path, state) if state else (path,)
        for older in set(self._stored) - set(files):
            older.unlink(missing_ok=True)
        self._stored = files
        return Checkpoint(step=step, key=key, sha256=sha256, bytes=size)
