"""Who somebody is and what they used, as the page is told."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from app.door import Door
from app.routes import routes
from app.session import LOCAL_OWNER, Account
from app.sign_in import Person
from backend.contract import GenerationRequest, new_run_id
from backend.errors import LimitReached, RunPodError
from backend.settings import Settings
from backend.storage import Storage
from backend.studio import Studio


class People:
    """Knows a keeper and others by a header."""

    routes: tuple[Route, ...] = ()
    ways_in: frozenset[str] = frozenset()

    def person(self, request: Request) -> Person | None:
        name = request.headers["x-person"]
        return Person(name, account=Account(name.title(), is_keeper=name == "keeper"))

    def page(self, request: Request, problem: str = "") -> Response:
        return Response(status_code=401)


@pytest.fixture
def client(quiet_studio: Studio, storage: Storage) -> TestClient:
    storage.loras.delete([each.key for each in storage.loras.list_all("ledger-")])
    return TestClient(Starlette(routes=routes(quiet_studio), middleware=[Middleware(Door, sign_in=People())]))


def asked(client: TestClient, path: str, person: str) -> Any:
    return client.get(path, headers={"x-person": person}).json()


def press(studio: Studio, owner: str, count: int) -> None:
    """Ask for pictures; nothing listens at RunPod's address, so they are under way for a minute."""
    run_id = new_run_id("image")
    request = GenerationRequest(run_id=run_id, owner=owner, prompt="x", base_model="tiny-flux", count=count)
    with pytest.raises(RunPodError):
        studio.runs.submit(request)


def test_nobody_has_used_anything_at_first(client: TestClient, owner: str) -> None:
    usage = asked(client, "/api/usage", owner)
    assert [(each["label"], each["used"]) for each in usage["own"]][:3] == [
        ("Runs under way", "0"), ("Pictures today", "0"), ("Storage", "0 MB"),
    ]  # fmt: skip
    assert usage["own"][-1] == {"label": "At work this month", "used": "none", "most": "", "share": None}
    assert (usage["latest"], usage["people"], usage["in_all"]) == ([], None, [])


def test_everybody_sees_their_own_and_the_keeper_sees_all(client: TestClient, quiet_studio: Studio, owner: str) -> None:
    asked(client, "/api/me", owner)
    press(quiet_studio, owner, 3)
    own = asked(client, "/api/usage", owner)
    assert own["own"][1] == {"label": "Pictures today", "used": "3", "most": "", "share": None}
    assert [(row["pictures"], row["settled"]) for row in own["latest"]] == [(3, False)]
    other = asked(client, "/api/usage", "somebody")
    assert (other["own"][1]["used"], other["latest"], other["people"]) == ("0", [], None)
    seen = asked(client, "/api/usage", "keeper")
    assert {row["name"]: row["pictures_today"] for row in seen["people"]}[owner.title()] == 3
    assert seen["in_all"][1]["used"] == "3"


def test_who_is_asked_is_told_who_they_are(client: TestClient) -> None:
    told = {"name": "Keeper", "is_keeper": True, "sign_in": "", "sign_out": ""}
    assert asked(client, "/api/me", "keeper") == told


def test_a_limit_is_a_sentence_with_its_own_status(quiet_studio: Studio, storage_settings: Settings, past: Any) -> None:
    studio = Studio.connect(storage_settings.model_copy(update={"atelier_max_files": 1}))
    past.picture()
    client = TestClient(Starlette(routes=routes(studio), middleware=[Middleware(Door, sign_in=People())]))
    full = quiet_studio.datasets.create(LOCAL_OWNER, "Full")
    reply = client.post(
        f"/api/datasets/{full.id}/files?name=a.png", content=b"x", headers={"x-person": LOCAL_OWNER, "origin": ""}
    )
    studio.close()
    assert (reply.status_code, reply.json()["error"].endswith("are what takes room.")) == (429, True)
    with pytest.raises(LimitReached, match="of 1 files"):
        studio.usage.check_storage(LOCAL_OWNER, 1)
