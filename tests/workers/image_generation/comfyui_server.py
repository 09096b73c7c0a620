"""A small server shaped like ComfyUI: the same addresses, messages and races, with noise for pictures.

Run as a program it takes ComfyUI's arguments, and `--script FILE`: a JSON list of what each prompt in turn shall do,
used up across restarts. What it receives is appended to FILE.received, a JSON object a line.

`{"replay": [VERSION, NAME]}` says what that version of ComfyUI said, as tests/data/comfyui_exchanges.json has it.
"""

import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import random
import signal
import struct
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from PIL import Image

STEP_S = 0.01
EXCHANGES = Path(__file__).parents[2] / "data" / "comfyui_exchanges.json"


class Server:
    def __init__(self, folders: tuple[Path, Path, Path], script: Path, models: Path | None) -> None:
        (self.input, self.output, self.temp), self.script, self.models = folders, script, models
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.flags: dict[str, dict[str, Any]] = {}
        self.pending: list[dict[str, Any]] = []
        self.running: dict[str, Any] | None = None
        self.history: dict[str, Any] = {}
        self.asked_after: dict[str, asyncio.Event] = defaultdict(asyncio.Event)  # prompts somebody knows the id of
        self.interrupted = False
        self.interrupts_to_lose = 0
        self.arrived = asyncio.Event()

    # -------------------------------------------------------------------------------- addresses

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/system_stats", self.system_stats),
                web.get("/ws", self.websocket),
                web.post("/prompt", self.prompt),
                web.post("/upload/image", self.upload),
                web.get("/queue", self.get_queue),
                web.post("/queue", self.post_queue),
                web.get("/history/{id}", self.get_history),
                web.post("/history", self.post_history),
                web.post("/interrupt", self.interrupt),
                web.post("/free", self.free),
            ]
        )
        return app

    async def system_stats(self, request: web.Request) -> web.Response:
        return web.json_response({"system": {"comfyui_version": "0.3.76"}})

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        name = request.query["clientId"]
        self.sockets[name], self.flags[name] = socket, {}
        self.note({"connected": name})
        await self.send(name, "status", {"status": {"exec_info": {"queue_remaining": len(self.pending)}}, "sid": name})
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                self.flags[name] = json.loads(message.data)["data"]
        # As ComfyUI does it: an old socket that ends takes a newer one of the same client with it.
        self.sockets.pop(name, None)
        return socket

    async def prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        does = self.next_in_script()
        self.note({"prompt": body, "does": does})
        recorded = self.recorded(does)
        if "status" in recorded:
            return web.Response(
                status=recorded["status"],
                text=json.dumps(recorded["body"]) if isinstance(recorded["body"], dict) else recorded["body"],
                content_type="application/json" if isinstance(recorded["body"], dict) else "text/plain",
            )
        if does.get("do") == "refuse as text":
            return web.Response(status=500, text="500 Internal Server Error")
        if errors := self.node_errors(body["prompt"], does):
            if does.get("do") == "drop outputs":
                self.enqueue(body, does)
                return web.json_response({"prompt_id": body["prompt_id"], "number": 1, "node_errors": errors})
            error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
            return web.json_response({"error": error | {"details": ""}, "node_errors": errors}, status=400)
        self.enqueue(body, does)
        return web.json_response({"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}})

    async def upload(self, request: web.Request) -> web.Response:
        picture: Any = (await request.post())["image"]
        name = f"{Path(picture.filename).stem} (1).png"  # as it renames where the name is taken
        (self.input / name).write_bytes(picture.file.read())
        self.note({"uploaded": name})
        return web.json_response({"name": name, "subfolder": "", "type": "input"})

    async def get_queue(self, request: web.Request) -> web.Response:
        running = [self.running] if self.running else []
        items = [[[0, item["prompt_id"], item["prompt"], {}, []] for item in some] for some in (running, self.pending)]
        return web.json_response({"queue_running": items[0], "queue_pending": items[1]})

    async def post_queue(self, request: web.Request) -> web.Response:
        deleted = set((await request.json())["delete"])
        self.pending = [item for item in self.pending if item["prompt_id"] not in deleted]
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        self.asked_after[prompt_id].set()
        found = self.history.get(prompt_id)
        return web.json_response({prompt_id: found} if found else {})

    async def post_history(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json())["delete"]:
            self.history.pop(prompt_id, None)
            self.note({"forgotten": prompt_id})
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        prompt_id = (await request.json()).get("prompt_id")
        if self.running and self.running["prompt_id"] == prompt_id:
            self.interrupts_to_lose -= 1
            self.interrupted = self.interrupts_to_lose < 0
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        self.note({"free": await request.json()})
        return web.Response()

    # -------------------------------------------------------------------------------- prompts

    def enqueue(self, body: dict[str, Any], does: dict[str, Any]) -> None:
        self.pending.append({**body, "does": does})
        self.arrived.set()

    def next_in_script(self) -> dict[str, Any]:
        script: list[dict[str, Any]] = json.loads(self.script.read_text()) if self.script.exists() else []
        if not script:
            return {}
        self.script.write_text(json.dumps(script[1:]))
        return script[0]

    def note(self, what: dict[str, Any]) -> None:
        with self.script.with_suffix(".received").open("a") as file:
            file.write(json.dumps(what) + "\n")

    def node_errors(self, graph: dict[str, Any], does: dict[str, Any]) -> dict[str, Any]:
        def wrong(node: str, name: str, value: Any) -> dict[str, Any]:
            extra = {"input_name": name, "input_config": [[], {}], "received_value": value}
            said = {"type": "value_not_in_list", "message": "Value not in list", "details": "", "extra_info": extra}
            return {node: {"errors": [said], "dependent_outputs": ["9"], "class_type": graph[node]["class_type"]}}

        if does.get("do") in ("refuse", "drop outputs"):
            return wrong("12", "unet_name", "flux1-dev.safetensors")
        for node, about in graph.items():
            picture = about["inputs"].get("image")
            if isinstance(picture, str) and not (self.input / picture).exists():
                return wrong(node, "image", picture)
            name = about["inputs"].get("lora_name")
            if name and self.models and not (self.models / "loras" / name).exists():
                return wrong(node, "lora_name", name)
        return {}

    async def work(self) -> None:
        while True:
            await self.arrived.wait()
            self.arrived.clear()
            while self.pending:
                self.running, self.interrupted = self.pending.pop(0), False
                self.interrupts_to_lose = self.running["does"].get("lose interrupts", 0)
                await self.run(self.running)
                self.running = None

    def recorded(self, does: dict[str, Any]) -> dict[str, Any]:
        if "replay" not in does:
            return {}
        version, name = does["replay"]
        exchange: dict[str, Any] = json.loads(EXCHANGES.read_text())[version][name]
        return exchange

    async def replay(self, item: dict[str, Any], recorded: dict[str, Any], sampler: str) -> None:
        """Say what was recorded; only the ids, and the picture, are this prompt's."""
        before, now = recorded["prompt_id"], item["prompt_id"]
        # No real picture is drawn before its sender has heard what its prompt is called.
        await self.asked_after[now].wait()
        for message in recorded["messages"]:
            if "base64" in message:
                picture = base64.b64decode(message["base64"])
                await self.send_bytes(item["client_id"], picture.replace(before.encode(), now.encode()))
                continue
            text = json.dumps(message).replace(before, now)
            if message["type"] == "progress":
                text = text.replace(f'"node": "{recorded["sampler"]}"', f'"node": "{sampler}"')
            said = json.loads(text)
            if said["type"] in ("execution_success", "execution_error", "execution_interrupted"):
                entry = json.loads(json.dumps(recorded["history"][before]).replace(before, now))
                if entry["outputs"]:
                    entry["outputs"] = self.draw(item["prompt"], item["does"])
                self.history[now] = entry
            await self.send(item["client_id"], said["type"], said["data"])

    async def run(self, item: dict[str, Any]) -> None:
        does, graph, prompt_id = item["does"], item["prompt"], item["prompt_id"]
        for line in does.get("log", []):
            print(line, flush=True)
        sampler = next(node for node, about in graph.items() if "latent_image" in about["inputs"])
        if recorded := self.recorded(does):
            return await self.replay(item, recorded, sampler)
        steps = int(does.get("steps", 3))
        await self.say(item, "execution_start", {})
        await self.say(item, "executing", {"node": sampler})
        for step in range(1, steps + 1):
            await asyncio.sleep(does.get("step_s", STEP_S))
            await self.say(item, "progress", {"node": "1", "value": 1, "max": 1})
            await self.say(item, "progress", {"node": sampler, "value": step, "max": steps})
            await self.preview(item)
            if self.interrupted:
                return await self.finish(item, "error", [["execution_interrupted", {"prompt_id": prompt_id}]])
            if step == 1 and await self.trouble(item):
                return None
        return await self.finish(item, "success", [], self.draw(graph, does))

    async def trouble(self, item: dict[str, Any]) -> bool:
        """Do what the script says in the middle of a prompt; return whether that was its end."""
        match item["does"].get("do"):
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "cut the websocket":
                for socket in list(self.sockets.values()):
                    if socket._req and socket._req.transport:
                        socket._req.transport.abort()
            case "hang":
                await asyncio.sleep(3600)
            case "lose":
                return True
            case "interrupt":
                about = {"prompt_id": item["prompt_id"]}
                await self.finish(item, "error", [["execution_interrupted", about]])
                return True
            case "fail":
                await self.finish(item, "error", [["execution_error", self.failure(item)]])
                return True
        return False

    def failure(self, item: dict[str, Any]) -> dict[str, Any]:
        return {
            "prompt_id": item["prompt_id"],
            "node_id": "13",
            "node_type": "SamplerCustomAdvanced",
            "exception_message": item["does"].get("message", "it broke\n"),
            "exception_type": item["does"].get("type", "RuntimeError"),
            "traceback": [],
        }

    async def finish(
        self, item: dict[str, Any], status: str, messages: list[Any], outputs: dict[str, Any] | None = None
    ) -> None:
        prompt_id, late_s = item["prompt_id"], item["does"].get("history late by", 0.0)
        entry = {
            "prompt": [],
            "outputs": outputs or {},
            "status": {"status_str": status, "completed": status == "success", "messages": messages},
        }
        kind = messages[0][0] if messages else "execution_success"
        if late_s:
            await self.say(item, kind, {})
            await asyncio.sleep(late_s)
        self.history[prompt_id] = entry
        if not late_s:
            await self.say(item, kind, {})
        await self.say(item, "executing", {"node": None})

    def draw(self, graph: dict[str, Any], does: dict[str, Any]) -> dict[str, Any]:
        save = next(node for node, about in graph.items() if about["class_type"] == "SaveImage")
        size = next(about["inputs"] for about in graph.values() if "batch_size" in about["inputs"])
        name = f"{graph[save]['inputs']['filename_prefix']}_00001_.png"
        if does.get("do") == "draw nothing":
            return {}
        if does.get("do") == "draw black":
            image = Image.new("RGB", (size["width"], size["height"]))
        else:
            seeds = [value for about in graph.values() for key, value in about["inputs"].items() if "seed" in key]
            pixels = random.Random(seeds[0]).randbytes(size["width"] * size["height"] * 3)
            image = Image.frombytes("RGB", (size["width"], size["height"]), pixels)
        image.save(self.output / name)
        image.save(self.temp / "ComfyUI_temp_hxqzt_00001_.png")  # as a PreviewImage beside it would
        return {save: {"images": [{"filename": name, "subfolder": "", "type": "output"}]}}

    # -------------------------------------------------------------------------------- the websocket

    async def say(self, item: dict[str, Any], kind: str, about: dict[str, Any]) -> None:
        if item["does"].get("do") != "stay silent":
            await self.send(item["client_id"], kind, {**about, "prompt_id": item["prompt_id"]})

    async def preview(self, item: dict[str, Any]) -> None:
        if item["does"].get("do") == "stay silent":
            return
        buffer = io.BytesIO()
        Image.new("RGB", (512, 384), (200, 30, 30)).save(buffer, "JPEG")
        name = item["client_id"]
        if item["does"].get("metadata"):
            about = json.dumps({"prompt_id": item["prompt_id"], "node_id": "13"}).encode()
            await self.send_bytes(name, struct.pack(">II", 4, len(about)) + about + buffer.getvalue())
        else:
            await self.send_bytes(name, struct.pack(">II", 1, 1) + buffer.getvalue())

    async def send(self, name: str, kind: str, about: dict[str, Any]) -> None:
        if socket := self.sockets.get(name):
            with contextlib.suppress(ConnectionError):
                await socket.send_json({"type": kind, "data": about})

    async def send_bytes(self, name: str, message: bytes) -> None:
        if socket := self.sockets.get(name):
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(message)


async def serve(server: Server, port: int) -> None:
    runner = web.AppRunner(server.app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await server.work()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--input-directory", type=Path)
    parser.add_argument("--output-directory", type=Path)
    parser.add_argument("--temp-directory", type=Path)
    arguments, _ = parser.parse_known_args()
    if arguments.script.with_suffix(".broken").exists():
        sys.exit("Torch not compiled with CUDA enabled")

    async def run() -> None:
        folders = (arguments.input_directory, arguments.output_directory, arguments.temp_directory)
        await serve(Server(folders, arguments.script, arguments.models), arguments.port)

    asyncio.run(run())


if __name__ == "__main__":
    main()
