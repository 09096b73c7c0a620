"""The GPU a training runs on, as an engine can know it without torch."""

import asyncio

from backend.errors import EngineError, MachineError
from workers.environment import child_environment
from workers.processes import start_child
from workers.training.engines import Listener


async def gpu_memory_gb(listener: Listener) -> float:
    """Return the memory of the smallest GPU in GB, 0 where there is none."""
    sizes: list[float] = []

    def hear(line: str) -> None:
        if line.strip().isdigit():
            sizes.append(int(line) * 2**20 / 1e9)

    try:
        query = await start_child(
            ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            environment=child_environment(),
            name="nvidia-smi",
            on_line=hear,
        )
        async with asyncio.timeout(20):
            await query.wait()
    except MachineError:
        pass  # no NVIDIA driver here
    except TimeoutError:
        await query.stop(0)
        raise EngineError(
            "The GPU did not answer within 20 s.", "Start it again; another worker has another GPU."
        ) from None
    if not sizes:
        listener.log("No GPU was found; training goes on without, which is slow.")
    return min(sizes, default=0.0)
