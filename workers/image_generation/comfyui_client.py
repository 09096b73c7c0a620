"""ComfyUI's HTTP and websocket as typed calls and events. What to do about them is the engine's business.

Speaks to 0.3.76 and to later versions: uses nothing newer, and reads what has been added where it is there.
"""

import json
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from backend.errors import EngineDied, EngineError

REQUEST_TIMEOUT_S = 10.0
LARGEST_MESSAGE = 32 * 2**20  # bytes; a preview is far smaller, an execution_error may hold a whole graph
_EXPLAINED = 3  # problems of a refused graph that are told


class Progress(NamedTuple):
    """A node has done `value` of `steps`."""

    prompt_id: str
    node: str
    value: int
    steps: int


class Executing(NamedTuple):
    """A node begins; None: the prompt has ended, well or not."""

    prompt_id: str
    node: str | None


class Ended(NamedTuple):
    """A prompt has ended; history will say how."""

    prompt_id: str


class Preview(NamedTuple):
    """The picture so far, as an encoded image. `prompt_id` is '' from a version that does not say."""

    prompt_id: str
    image: bytes


Event = Progress | Executing | Ended | Preview


class OutputFile(NamedTuple):
    """A file that a node has written, under the output folder."""

    node: str
    subfolder: str
    filename: str


class History(NamedTuple):
    """How a prompt ended."""

    outcome: Literal["success", "error", "interrupted"]
    outputs: tuple[OutputFile, ...]
    node: str  # where it failed
    error_type: str  # such as 'torch.OutOfMemoryError'
    error: str


class Queue(NamedTuple):
    """The prompts that wait and the ones that run, by id."""

    running: frozenset[str]
    pending: frozenset[str]


class ComfyUIClient:
    """One ComfyUI. Raises EngineDied when it is not responding, EngineError when it refuses."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # Proxies are for the outside; this is a process of ours.
        self._http = httpx.AsyncClient(base_url=self.url, timeout=REQUEST_TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def version(self) -> str:
        """Return the version of ComfyUI; '' from one that does not say."""
        stats = (await self._call("GET", "/system_stats")).json()
        return str(stats.get("system", {}).get("comfyui_version", ""))

    async def submit(self, graph: Mapping[str, Any], prompt_id: str, client_id: str) -> str:
        """Queue a graph and return the id it runs under. Raises EngineError with what is wrong with the graph."""
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id}
        reply = await self._call("POST", "/prompt", body, refused_is_answer=True)
        try:
            said: dict[str, Any] = reply.json()
        except ValueError:
            said = {}
        # A 200 may carry node_errors: those outputs are dropped in silence.
        if reply.status_code != 200 or said.get("node_errors") or "prompt_id" not in said:
            if "prompt_id" in said:
                await self.cancel(str(said["prompt_id"]))
            raise EngineError(
                f"ComfyUI refused the workflow: {explain_refusal(reply.status_code, said, reply.text)}",
                "Correct the base model's workflow.json, or the weights it names.",
            )
        return str(said["prompt_id"])

    async def upload(self, name: str, picture: bytes) -> str:
        """Put a PNG into its input folder and return what LoadImage calls it: another name, where that one is taken."""
        files = {"image": (name, picture, "image/png")}
        return str((await self._call("POST", "/upload/image", files=files)).json()["name"])

    async def history(self, prompt_id: str) -> History | None:
        """Return how a prompt ended; None while it waits or runs, or if it is not known."""
        entry = (await self._call("GET", f"/history/{prompt_id}")).json().get(prompt_id)
        return read_history(entry) if entry else None

    async def queue(self) -> Queue:
        """Return what runs and waits."""
        said = (await self._call("GET", "/queue")).json()
        running, pending = (frozenset(item[1] for item in said[name]) for name in ("queue_running", "queue_pending"))
        return Queue(running, pending)

    async def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue and interrupt it. Either may come too early: ask the history and the queue."""
        await self._call("POST", "/queue", {"delete": [prompt_id]})
        await self._call("POST", "/interrupt", {"prompt_id": prompt_id})

    async def free(self) -> None:
        """Have it unload its models and give their memory back."""
        await self._call("POST", "/free", {"unload_models": True, "free_memory": True})

    async def forget(self, prompt_id: str) -> None:
        """Remove a prompt from its history."""
        await self._call("POST", "/history", {"delete": [prompt_id]})

    @asynccontextmanager
    async def listen(self, client_id: str) -> AsyncIterator[AsyncIterator[Event]]:
        """Open a websocket and yield the events of the prompts submitted under `client_id`, until it is cut."""
        address = f"{self.url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        try:
            async with connect(
                address, max_size=LARGEST_MESSAGE, proxy=None, open_timeout=REQUEST_TIMEOUT_S, close_timeout=1
            ) as socket:
                await socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
                yield _events(socket)
        except (WebSocketException, OSError, TimeoutError) as error:
            raise EngineDied(f"ComfyUI's websocket was cut ({type(error).__name__}: {error}).") from error

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        files: Mapping[str, Any] | None = None,
        refused_is_answer: bool = False,
    ) -> httpx.Response:
        try:
            reply = await self._http.request(method, path, json=body, files=files)
        except httpx.HTTPError as error:
            raise EngineDied(
                f"ComfyUI is not responding to {method} {path} ({type(error).__name__}: {error})."
            ) from error
        if not refused_is_answer and reply.status_code != 200:
            raise EngineError(f"ComfyUI answered {method} {path} with {reply.status_code}: {reply.text[:300]}")
        return reply


async def _events(socket: ClientConnection) -> AsyncIterator[Event]:
    async for message in socket:
        event = read_preview(message) if isinstance(message, bytes) else read_event(message)
        if event is not None:
            yield event


def read_event(message: str) -> Event | None:
    """Return what a text message says; None for the kinds that nobody needs."""
    try:
        said = json.loads(message)
        kind, data = said["type"], said.get("data") or {}
        prompt_id = str(data.get("prompt_id") or "")
        if kind == "progress":
            return Progress(prompt_id, str(data.get("node") or ""), int(data["value"]), int(data["max"]))
        if kind == "executing":
            return Executing(prompt_id, None if data.get("node") is None else str(data["node"]))
        if kind in ("execution_success", "execution_error", "execution_interrupted"):
            return Ended(prompt_id)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # custom nodes send what they like
    return None


def read_preview(message: bytes) -> Preview | None:
    """Return the picture in a binary message: kind 1 is a picture, kind 4 has JSON before it."""
    try:
        (kind,) = struct.unpack_from(">I", message)
        (second,) = struct.unpack_from(">I", message, 4)
        if kind == 1:
            return Preview("", message[8:])
        if kind == 4:
            about = json.loads(message[8 : 8 + second])
            return Preview(str(about.get("prompt_id") or ""), message[8 + second :])
    except (struct.error, ValueError, AttributeError):
        return None
    return None


def read_history(entry: Mapping[str, Any]) -> History:
    """Return how a prompt ended, from its entry in the history."""
    status = entry.get("status") or {}
    messages = {str(kind): about for kind, about in status.get("messages", [])}
    failed = messages.get("execution_error") or {}
    outcome: Literal["success", "error", "interrupted"] = "success"
    if "execution_interrupted" in messages:
        outcome = "interrupted"
    elif status.get("status_str", "success") != "success" or failed:
        outcome = "error"
    outputs = tuple(
        OutputFile(str(node), str(image.get("subfolder", "")), str(image["filename"]))
        for node, output in (entry.get("outputs") or {}).items()
        for image in output.get("images", [])
        if image.get("type") == "output"
    )
    where = f"{failed.get('node_type', '')} ({failed['node_id']})" if failed.get("node_id") else ""
    return History(
        outcome, outputs, where, str(failed.get("exception_type", "")), str(failed.get("exception_message", "")).strip()
    )


def explain_refusal(status: int, said: Mapping[str, Any], text: str) -> str:
    """Return a sentence for a refused graph: the nodes and inputs at fault, and what was wrong with them."""
    problems = [
        _explain_node_error(node, about, problem)
        for node, about in (said.get("node_errors") or {}).items()
        for problem in about.get("errors", [])
    ]
    if problems:
        more = f" and {len(problems) - _EXPLAINED} more" if len(problems) > _EXPLAINED else ""
        return f"{'; '.join(problems[:_EXPLAINED])}{more}."
    error = said.get("error")
    if isinstance(error, Mapping):
        about = error.get("extra_info") or {}
        if error.get("type") == "missing_node_type" and about.get("class_type"):
            return f"this worker's ComfyUI has no node '{about['class_type']}', titled '{about.get('node_title')}'."
        return " ".join(str(error.get(name) or "") for name in ("message", "details")).strip()
    return f"{error or text[:300] or 'no reason given'} (HTTP {status})"


def _explain_node_error(node: str, about: Mapping[str, Any], problem: Mapping[str, Any]) -> str:
    extra = problem.get("extra_info") or {}
    place = f"{about.get('class_type', 'node')} ({node})"
    if name := extra.get("input_name"):
        place += f".{name}"
    received = f", got {extra['received_value']!r}" if "received_value" in extra else ""
    # Of a node's own check only the details say anything; of others they repeat every value there is.
    own = problem.get("type") == "custom_validation_failed" and problem.get("details")
    return f"{place}: {own or problem.get('message') or problem.get('type')}{received}"
