"""One prompt in ComfyUI, from its queue to its end: what it tells on the way, its deadline, its cancel.

Its history is the truth; the websocket only tells how far a picture is and what it looks like so far.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

from backend.errors import EngineDied, EngineError, LoraRejected, OutOfMemory, WeightsError
from workers.image_generation.comfyui_client import ComfyUIClient, Event, History
from workers.image_generation.engines.comfyui_follower import Follower
from workers.image_generation.engines.comfyui_process import ComfyUIProcess
from workers.image_generation.workflow import Rendered

CANCEL_GRACE_S = 2.0  # a cancel ends within three seconds
POLL_EVERY_S = 0.5
_LOOK_AGAIN_S = 0.02  # the history may lag behind the event that says it is there
_LOST_AFTER_S = 2.0  # neither in the queue nor in the history
_CONNECT_S = 2.0

Check = Callable[[], Awaitable[None]]


async def run_prompt(
    process: ComfyUIProcess,
    rendered: Rendered,
    follower: Follower,
    check: Check,
    *,
    load_timeout_s: float,
    picture_timeout_s: float,
) -> History:
    """Run a graph to its end, well or not; what it writes into the history is forgotten there.

    `check` is asked when everything is loaded: if it raises LoraRejected or WeightsError, nothing is drawn. The steps
    may take `picture_timeout_s`, and what comes before them `load_timeout_s`: past either, ComfyUI is ended and
    EngineError raised. Raises EngineDied when ComfyUI ended or lost the prompt.
    """
    client_id, prompt_id = uuid.uuid4().hex, str(uuid.uuid4())
    process.stirred.clear()
    follower.begin(rendered, prompt_id, process.stirred)
    async with _listening(process.client, client_id, follower.hear):
        try:
            prompt_id = await process.client.submit(rendered.graph, prompt_id, client_id)
            follower.prompt_id = prompt_id
            history = await _await_history(process, prompt_id, follower, check, load_timeout_s, picture_timeout_s)
        except (asyncio.CancelledError, LoraRejected, WeightsError):
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
    process: ComfyUIProcess,
    prompt_id: str,
    follower: Follower,
    check: Check,
    load_timeout_s: float,
    picture_timeout_s: float,
) -> History:
    started_at = last_seen = time.monotonic()
    checked = False
    while True:
        if follower.began_at and not checked:
            checked = True
            if not follower.ended:
                process.stirred.clear()
            await check()
        if history := await _look(process, prompt_id):
            return history
        if not process.running:
            raise await _died(process)
        now = time.monotonic()
        if await _is_queued(process, prompt_id):
            last_seen = now
        elif now - last_seen > _LOST_AFTER_S:
            raise EngineDied("ComfyUI has lost the prompt: it is neither in its queue nor in its history.")
        since, limit_s = (follower.began_at, picture_timeout_s) if follower.began_at else (started_at, load_timeout_s)
        if now - since > limit_s:
            await process.end()
            raise EngineError(
                f"ComfyUI took more than {limit_s:g} s over a picture and was stopped.",
                "Ask for a smaller picture or fewer steps.",
            )
        if process.stirred.is_set():
            await asyncio.sleep(_LOOK_AGAIN_S)
        else:
            # Not wait_for: in Python 3.11 it loses a cancel that comes together with what it waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(POLL_EVERY_S, since + limit_s - now + 0.01)):
                    await process.stirred.wait()


def check_outcome(history: History) -> None:
    """Raise what a prompt ended with, unless it is a picture."""
    if history.outcome == "interrupted":
        raise EngineError("The prompt was interrupted in ComfyUI, and not by Cancel.", "Try again.")
    # Later versions of torch tell some of it as an AcceleratorError.
    lacks_memory = "OutOfMemory" in history.error_type or "out of memory" in history.error.lower()
    if history.outcome == "error" and lacks_memory:
        raise OutOfMemory(
            f"The GPU ran out of memory in {history.node}.", "Ask for a smaller picture, or use a larger GPU."
        )
    if history.outcome == "error":
        said = f"{history.error_type}: {history.error}".strip(": ")
        raise EngineError(
            f"ComfyUI failed in {history.node or 'the workflow'}: {said or 'no reason given'}",
            "Check the weights and the workflow of this base model.",
        )


@contextlib.asynccontextmanager
async def _listening(client: ComfyUIClient, client_id: str, hear: Callable[[Event], None]) -> AsyncIterator[None]:
    """Pass on events from before the first prompt to the end, through cuts; without them if there is no websocket."""
    tried = asyncio.Event()
    task = asyncio.create_task(_listen(client, client_id, hear, tried))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_S):
                await tried.wait()
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
