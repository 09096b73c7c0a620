"""The ai_toolkit engine as a worker sees it: trains, and once more with less when the memory runs out."""

from backend.errors import OutOfMemory
from backend.settings import Settings
from backend.toolkit_config import leaner, toolkit_block
from workers.training.engines import Engine, EngineJob, Listener
from workers.training.engines.ai_toolkit.attempt import Attempt, Patience
from workers.training.engines.gpu import gpu_memory_gb


def make_engine(settings: Settings, patience: Patience | None = None) -> Engine:
    """Return the engine that trains with the ai-toolkit that the settings name."""
    patience = patience or Patience()

    async def train(job: EngineJob, listener: Listener) -> None:
        await _train(job, listener, settings, patience)

    return train


async def _train(job: EngineJob, listener: Listener, settings: Settings, patience: Patience) -> None:
    """Train, and once more with less when the memory runs out."""
    limits = toolkit_block(job.spec).memory
    memory_gb = await gpu_memory_gb(listener)
    first = Attempt(job, listener, patience)
    try:
        await first.run(settings, memory_gb)
    except OutOfMemory as error:
        again = job.model_copy(update={"settings": leaner(job.settings, limits), "resume": first.resume_point})
        if again.settings == job.settings:
            raise
        listener.log(f"{error.message} Trying again with {_in_words(again)}.")
        listener.phase("starting", f"out of memory; trying again with {_in_words(again)}")
        await Attempt(again, listener, patience).run(settings, memory_gb)


def _in_words(job: EngineJob) -> str:
    sides = ", ".join(str(side) for side in job.settings.resolution)
    return f"every memory saving on, pictures of {sides} pixels and batches of {job.settings.batch_size}"
