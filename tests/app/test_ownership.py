"""Every way into the studio, tried with somebody else's session and with none. What is added later is tried as well:
the routes, handlers and server functions are asked of the app itself."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import gradio as gr
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from app.routes import routes
from app.serving import options_behind_door, page_for
from app.session import LOCAL_OWNER
from app.sign_in import Person
from app.traffic import Traffic
from backend.contract import LoraRecord, new_id
from backend.grids.plan import Axis
from backend.grids.record import GridCell, GridRecord
from backend.keys import GridKeys, LoraKeys, start_picture_key
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio
from tests.app.conftest import Past

MARK = "seen-by-nobody-else"
STRANGER = {"x-person": "stranger", "sec-fetch-site": "same-origin"}
OPEN = {"/healthz", "/readyz", "/favicon.ico", "/robots.txt", "/gradio_api/startup-events",
        "/static/{path:path}", "/assets/{path:path}"}  # fmt: skip


class Named:
    """Believes who somebody says they are."""

    routes: tuple[Route, ...] = ()
    ways_in: frozenset[str] = frozenset()

    def person(self, request: Request) -> Person | None:
        name = request.headers.get("x-person", "")
        return Person(name) if name else None

    def page(self, request: Request, problem: str = "") -> Response:
        return Response(status_code=401)


class Things(NamedTuple):
    """What the local owner has; each carries the mark."""

    dataset_id: str
    training: str
    generation: str
    image_id: str
    grid_id: str
    keys: list[str]

    @property
    def ids(self) -> list[str]:
        return [self.dataset_id, self.training, self.generation, self.image_id, self.grid_id]

    @property
    def names(self) -> list[str]:
        return [*self.ids, *self.keys]


@pytest.fixture
def things(quiet_studio: Studio, past: Past, storage: Storage) -> Things:
    dataset = quiet_studio.datasets.create(LOCAL_OWNER, MARK)
    training, generation, record = past.training(MARK), past.generation(MARK), past.picture(MARK)
    storage.loras.put(training.log, MARK.encode())
    lora_key = f"loras/{LOCAL_OWNER}/{training.run_id}/named-by-the-stranger.safetensors"
    storage.loras.put(lora_key, MARK.encode())
    start = start_picture_key(LOCAL_OWNER, "a" * 64)
    storage.outputs.put(start, MARK.encode())
    quiet_studio.prompt_books.save_style(LOCAL_OWNER, "x", MARK)
    keys = [lora_key, record.key, record.thumb_key, training.log, start]
    lora = LoraRecord(
        id=training.run_id, owner=LOCAL_OWNER, name=MARK, key=lora_key, sha256="a" * 64, bytes=1,
        base_model="tiny-flux", architecture="flux-tiny", trigger_word=MARK, run_id=training.run_id, created_at=1,
    )  # fmt: skip
    storage.loras.put_message(LoraKeys(LOCAL_OWNER, training.run_id).record, lora)
    grid = GridRecord(
        id=new_id(), owner=LOCAL_OWNER, title=MARK, base_model="tiny-flux", width=128, height=128,
        axes=[Axis(kind="seed", labels=[MARK])], places=[0], cells=[
            GridCell(run_id=generation.run_id, prompt=MARK, seed=1, steps=None, guidance=None, loras=[])
        ],
    )  # fmt: skip
    storage.outputs.put_message(GridKeys(LOCAL_OWNER, grid.id).record, grid)
    return Things(dataset.id, training.run_id, generation.run_id, record.id, grid.id, keys)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(quiet_studio: Studio, storage_settings: Settings) -> gr.routes.App:
    sign_in = Named()
    page = page_for(quiet_studio, sign_in)
    options = options_behind_door(quiet_studio, sign_in, storage_settings, Traffic())
    return gr.routes.App.create_app(page, app_kwargs=options["app_kwargs"])


@pytest.fixture
def client(app: gr.routes.App) -> Iterator[TestClient]:
    yield TestClient(app, base_url="http://studio", raise_server_exceptions=False)


def messages(things: Things) -> list[dict[str, Any]]:
    """What routes are sent, about the local owner's things."""
    return [
        {},
        {"name": "x", "note": "", "tags": []},
        {"run_id": things.training, "step": 100},
        {"image_id": things.image_id},
        {"sample_key": things.keys[0]},
        {"pictures": [{"image_id": things.image_id}]},
        {"name": "x"},
        {"name": "x", "prompt": "y"},
        {"name": "x", "words": ["x"]},
        {"base_model": "tiny-flux", "prompt": "x", "axes": [{"kind": "lora", "keys": [things.keys[0]]}]},
        {"base_model": "tiny-flux", "prompt": "x", "axes": [{"kind": "checkpoint", "run_id": things.training}]},
    ]


def everything(storage: Storage) -> dict[str, tuple[int, float]]:
    """What is stored of the local owner."""
    prefixes = [f"{kind}/{LOCAL_OWNER}/" for kind in ("datasets", "runs", "loras", "prompts")]
    in_loras = (storage.loras.list_all(prefix) for prefix in prefixes)
    in_outputs = (
        storage.outputs.list_all(f"{kind}/{LOCAL_OWNER}/")
        for kind in ("images", "thumbs", "records", "favourites", "starts", "grids")
    )
    stored = itertools.chain(*in_loras, *in_outputs)
    return {each.key: (each.bytes, each.modified_at) for each in stored}


def addresses_of(app: gr.routes.App) -> list[tuple[str, str]]:
    """Every method and path there is, Gradio's too."""
    found = []
    for route in app.routes:
        for inner in getattr(getattr(route, "original_router", route), "routes", [route]):
            prefix = getattr(getattr(route, "include_context", None), "prefix", "") or ""
            found += [(method, prefix + inner.path) for method in getattr(inner, "methods", None) or ["GET"]]
    return found


def test_nobody_gets_in_anywhere(app: gr.routes.App, client: TestClient) -> None:
    addresses = addresses_of(app)
    assert ("POST", "/gradio_api/upload") in addresses, addresses
    assert len(addresses) > 60

    for method, path in addresses:
        if path not in OPEN:
            reply = client.request(method, path.replace("{", "").replace("}", ""), follow_redirects=False)
            assert reply.status_code == 401, (method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file//etc/passwd", "/file=/etc/passwd", "/monitoring",
        "/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/openapi.json", "/gradio_api/run-history/records",
        "/gradio_api/vibe-code", "/gradio_api/stream/x", "/gradio_api//file=/etc/passwd",
        "/static/../gradio_api/file=/etc/passwd",
    ],
)  # fmt: skip
def test_what_the_studio_does_not_use_of_gradio_is_shut(client: TestClient, path: str) -> None:
    assert client.get(path, headers=STRANGER).status_code in (404, 405)


def test_no_route_shows_or_changes_what_is_somebody_elses(
    client: TestClient, quiet_studio: Studio, things: Things, storage: Storage
) -> None:
    before = everything(storage)
    tried = 0
    for route in routes(quiet_studio):
        parameters = list(route.param_convertors)
        for values in itertools.product(*([things.ids] * len(parameters))):  # a key has slashes: only /media takes it
            path = route.path.replace(":path", "")
            for name, value in zip(parameters, values, strict=True):
                path = path.replace(f"{{{name}}}", value)
            paths = [path]
            if "{bucket}" in route.path:
                paths = [f"/media/{bucket}/{key}" for bucket in ("loras", "outputs") for key in things.keys]
            for address, method in itertools.product(paths, route.methods or ()):
                for message in messages(things) if method == "POST" else [{}]:
                    reply = client.request(method, address, headers=STRANGER, params={"kind": "image"}, json=message)
                    # An answer may repeat what it was sent.
                    assert MARK not in reply.text.replace(things.keys[0], ""), (method, address)
                    tried += 1
    assert tried > 50
    assert everything(storage) == before


def test_many_pictures_at_once_are_ones_own(client: TestClient, things: Things, storage: Storage) -> None:
    before = everything(storage)
    told = {"image_ids": [things.image_id]}
    for action, message in (("delete", told), ("download", told), ("favourite", told | {"favourite": True})):
        sent = {"data": {"message": json.dumps(message)}} if action == "download" else {"json": message}
        reply = client.post(f"/api/gallery/{action}", headers=STRANGER, **sent)
        assert (reply.status_code < 300, MARK in reply.text) == (True, False), action
    for path in ("/api/gallery", "/api/gallery/summary"):
        for query in ({}, {"q": MARK}, {"liked": "1"}, {"lora": things.keys[0]}, {"base": "tiny-flux"}):
            reply = client.get(path, headers=STRANGER, params=query)
            assert MARK not in reply.text
            assert things.image_id not in reply.text
    assert everything(storage) == before


def test_no_handler_shows_or_changes_what_is_somebody_elses(
    app: gr.routes.App, client: TestClient, things: Things, storage: Storage
) -> None:
    before = everything(storage)
    blocks = app.get_blocks()
    for number, event in blocks.fns.items():
        if event.fn is None:
            continue
        for name in things.names:
            told = {"run_id": name, "image_id": name, "key": name, "dataset_id": name, "base_model": "tiny-flux",
                    "trigger_word": ""}  # fmt: skip
            body = {"fn_index": number, "data": [name] * len(event.inputs), "event_data": told,
                    "session_hash": "stranger's"}  # fmt: skip
            reply = client.post("/gradio_api/run/predict", json=body, headers=STRANGER)
            # A handler may repeat what it was sent.
            assert MARK not in reply.text.replace(name, "").replace(json.dumps(name), ""), event.fn
    assert everything(storage) == before


def test_no_server_function_shows_or_changes_what_is_somebody_elses(
    app: gr.routes.App, client: TestClient, things: Things, storage: Storage
) -> None:
    before = everything(storage)
    called = 0
    for number, block in app.get_blocks().blocks.items():
        for function in getattr(block, "server_fns", []):
            for name in things.names:
                payload: Any = {"dataset_id": name, "captions": {"a" * 64: "theirs"}, "run_id": name, "image_id": name,
                                "id": name, "key": name, "prompt": "x", "base_model": "tiny-flux",
                                "loras": [{"key": name, "strength": 1}]}  # fmt: skip
                body = {"component_id": number, "fn_name": function.__name__, "data": payload, "session_hash": "s"}
                reply = client.post("/gradio_api/component_server", json=body, headers=STRANGER)
                assert MARK not in reply.text.replace(name, ""), function
                called += 1
    assert called >= len(things.names)
    assert everything(storage) == before


def test_somebody_elses_lora_cannot_be_prompted_with(quiet_studio: Studio, things: Things) -> None:
    for key in (things.keys[0], f"loras/bob/../{LOCAL_OWNER}/x.safetensors", "jobs/x"):
        with pytest.raises(Exception, match="no LoRA of yours"):
            quiet_studio.generation.start("bob", "tiny-flux", prompt="x", loras=[{"key": key}])


def test_a_session_of_gradios_belongs_to_who_began_it(client: TestClient) -> None:
    def listens(person: str) -> int:
        return client.get("/gradio_api/app_id?session_hash=h", headers={"x-person": person}).status_code

    assert listens("bob") == 200
    assert listens("stranger") == 404
    assert listens("bob") == 200


def test_the_owner_still_sees_everything(client: TestClient, things: Things) -> None:
    mine = {"x-person": LOCAL_OWNER}
    assert MARK in client.get(f"/api/runs/{things.training}", headers=mine).text
    assert MARK in client.get(f"/api/gallery/{things.image_id}", headers=mine).text
    assert MARK in client.get(f"/api/grids/{things.grid_id}", headers=mine).text
    assert client.get(f"/api/grids/{things.grid_id}/sheet", headers=mine).headers["content-type"] == "image/png"
    assert client.get(f"/media/loras/{things.keys[0]}", headers=mine).text == MARK
