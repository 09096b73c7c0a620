import asyncio
import json
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from typing import Any

import itsdangerous
import pytest
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.door import Door
from app.session import account_of, hub_access_of, owner_of
from app.sign_in import HuggingFace, Loopback, Password, sign_in_for
from backend.errors import AtelierError
from backend.settings import Settings

PASSWORD = "correct horse battery"
SPACE = {"space_id": "ann/studio", "oauth_client_id": "client", "system": "spaces"}
HTML = {"accept": "text/html"}


def whose(request: Request) -> PlainTextResponse:
    return PlainTextResponse(owner_of(request))


def publishes_with(request: Request) -> PlainTextResponse:
    access = hub_access_of(request)
    return PlainTextResponse(access.token.get_secret_value() if access.token else access.missing)


def who(request: Request) -> JSONResponse:
    return JSONResponse(account_of(request)._asdict())


def studio(**settings: Any) -> TestClient:
    """A studio that answers every known address with whose the request is."""
    sign_in = sign_in_for(Settings.model_validate(settings))
    routes = [*sign_in.routes, Route("/", whose), Route("/api/x", whose, methods=["GET", "POST"])]
    routes.append(Route("/api/hub", publishes_with))
    routes.append(Route("/api/who", who))
    middleware = [Middleware(SessionMiddleware, secret_key="gradio's"), Middleware(Door, sign_in=sign_in)]
    return TestClient(Starlette(routes=routes, middleware=middleware), base_url="https://127.0.0.1:7860")


def signed_in(
    client: TestClient, name: str, *, orgs: tuple[str, ...] = (), lasts_s: float = 60, sub: str = "", **session_has: str
) -> str:
    """Give a browser the session that Gradio makes once Hugging Face has said who somebody is."""
    user = {"sub": sub or f"number-{name.lower()}", "preferred_username": name,
            "orgs": [{"preferred_username": org} for org in orgs]}  # fmt: skip
    session = {"oauth_info": {"userinfo": user, "expires_at": time.time() + lasts_s, **session_has}}
    cookie = itsdangerous.TimestampSigner("gradio's").sign(b64encode(json.dumps(session).encode())).decode()
    client.cookies.set("session", cookie)
    return client.get("/api/x").text


class TestLoopback:
    def test_whoever_sits_here_is_the_local_owner(self) -> None:
        assert studio().get("/api/x").text == "local"

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""])
    def test_a_name_that_leads_here_from_elsewhere_is_refused(self, host: str) -> None:
        reply = studio().get("/api/x", headers={"host": host, "sec-fetch-site": "same-origin"})

        assert reply.status_code == 403
        assert "Set ATELIER_PASSWORD" in reply.json()["error"]


class TestPassword:
    def test_without_it_there_is_a_page_to_give_it_and_nothing_else(self) -> None:
        client = studio(atelier_password=PASSWORD)

        page = client.get("/", headers=HTML)

        assert (page.status_code, 'type="password"' in page.text) == (401, True)
        assert client.get("/api/x").status_code == 401

    def test_with_it_the_studio_opens_until_one_signs_out(self) -> None:
        client = studio(atelier_password=PASSWORD)

        answer = client.post("/login", data={"password": PASSWORD}, headers=HTML)

        assert (answer.status_code, answer.text) == (200, "local")  # the page it was sent on to
        assert client.get("/api/x").text == "local"
        assert client.get("/logout").status_code == 401
        assert client.get("/api/x").status_code == 401

    def test_one_comes_to_what_one_asked_for(self) -> None:
        client = studio(atelier_password=PASSWORD)
        asked = "?tab=runs&run=train-1"

        assert f'action="/login{asked.replace("&", "&amp;")}"' in client.get(f"/{asked}", headers=HTML).text
        wrong = client.post(f"/login{asked}", data={"password": "guess"}, headers=HTML)
        assert f'action="/login{asked.replace("&", "&amp;")}"' in wrong.text
        right = client.post(f"/login{asked}", data={"password": PASSWORD}, headers=HTML, follow_redirects=False)
        assert right.headers["location"] == f"/{asked}"

    @pytest.mark.parametrize("query", ["//evil.example", "next=https://evil.example", "@evil.example", '"><script>'])
    def test_nobody_is_led_elsewhere(self, query: str) -> None:
        client = studio(atelier_password=PASSWORD)
        assert "<script>" not in client.get(f"/?{query}", headers=HTML).text
        for method, sent in (("GET", {}), ("POST", {"data": {"password": PASSWORD}})):
            reply = client.request(method, f"/login?{query}", headers=HTML, follow_redirects=False, **sent)
            assert (reply.status_code, reply.headers["location"][:2]) == (303, "/?")

    async def test_many_guesses_at_once_are_not_even_looked_at(self) -> None:
        client = studio(atelier_password=PASSWORD)
        transport = ASGITransport(client.app)
        async with AsyncClient(transport=transport, base_url="https://127.0.0.1:7860") as guesser:
            guesses = (guesser.post("/login", data={"password": f"guess {number}"}) for number in range(30))
            answers = Counter(reply.json()["error"] for reply in await asyncio.gather(*guesses))
        assert answers == {
            "This is not the password.": 10,
            "Many wrong passwords are being tried. Try again in a few seconds.": 20,
        }
        assert client.post("/login", data={"password": PASSWORD}).is_success

    def test_signing_out_works_in_the_frame_of_the_hub_too(self) -> None:
        client = studio(atelier_password=PASSWORD, space_id="ann/studio")
        client.post("/login", data={"password": PASSWORD})
        cookie = client.get("/logout", follow_redirects=False).headers["set-cookie"].lower()
        assert {"max-age=0", "secure", "samesite=none"} <= {part.strip() for part in cookie.split(";")}

    def test_no_cache_keeps_what_is_behind_the_door(self) -> None:
        client = studio(atelier_password=PASSWORD)
        for _ in range(2):
            for path in ("/", "/api/x"):
                assert "no-store" in client.get(path, headers=HTML).headers["cache-control"]
            client.post("/login", data={"password": PASSWORD})

    def test_a_wrong_one_waits_and_says_so(self) -> None:
        client = studio(atelier_password=PASSWORD)
        began = time.monotonic()

        page = client.post("/login", data={"password": "guess"}, headers=HTML)

        assert "This is not the password." in page.text
        assert time.monotonic() - began >= 1
        assert client.get("/api/x").status_code == 401

    def test_a_program_signs_in_as_gradio_client_does(self) -> None:
        client = studio(atelier_password=PASSWORD)

        assert client.post("/login", data={"username": "x", "password": PASSWORD}).json() == {"success": True}
        assert client.get("/api/x").text == "local"

    def test_a_stranger_cannot_send_a_form_without_end(self) -> None:
        client = studio(atelier_password=PASSWORD)
        answer = client.post("/login", content=b"password=" + b"x" * 2**20, headers=HTML)
        assert (answer.status_code, answer.json()["error"]) == (413, "It is over 1 MB. Send less at a time.")
        answer = client.post("/login", content=b"a=1&" * 11 + b"password=x", headers=HTML)
        assert (answer.status_code, answer.json()["error"]) == (413, "This form has too many fields. Reload the page.")

    @pytest.mark.parametrize("change", [{"atelier_password": "another password"}, {"session_secret": "another"}])
    def test_another_password_or_secret_signs_everybody_out(self, change: dict[str, str]) -> None:
        before = studio(atelier_password=PASSWORD, session_secret="secret")
        before.post("/login", data={"password": PASSWORD})
        same = studio(atelier_password=PASSWORD, session_secret="secret")
        after = studio(**{"atelier_password": PASSWORD, "session_secret": "secret"} | change)
        for client in (same, after):
            client.cookies.set("atelier", before.cookies["atelier"])

        assert same.get("/api/x").status_code == 200
        assert after.get("/api/x").status_code == 401

    def test_the_secret_is_a_new_one_if_none_is_given(self) -> None:
        one, other = studio(atelier_password=PASSWORD), studio(atelier_password=PASSWORD)
        one.post("/login", data={"password": PASSWORD})
        other.cookies.set("atelier", one.cookies["atelier"])

        assert other.get("/api/x").status_code == 401

    def test_a_short_one_is_refused_at_the_start(self) -> None:
        with pytest.raises(AtelierError, match="has 5 characters"):
            Password(Settings.model_validate({"atelier_password": "short"}))

    def test_another_sites_page_changes_nothing(self) -> None:
        client = studio(atelier_password=PASSWORD)
        client.post("/login", data={"password": PASSWORD})

        assert client.post("/api/x", headers={"sec-fetch-site": "cross-site"}).status_code == 403


class TestSpace:
    def test_the_owner_alone_comes_in_unless_others_are_named(self) -> None:
        assert signed_in(studio(**SPACE), "Ann") == "hf-number-ann"
        assert "not among the people" in signed_in(studio(**SPACE), "bob")
        assert signed_in(studio(**SPACE, allowed_users="carl, Bob"), "bob") == "hf-number-bob"

    def test_organisations_can_be_named_too(self) -> None:
        client = studio(**SPACE, allowed_users="painters")

        assert signed_in(client, "bob", orgs=("Painters",)) == "hf-number-bob"
        assert "not among the people" in signed_in(client, "dora", orgs=("sculptors",))

    def test_who_is_refused_can_sign_out_again(self) -> None:
        client = studio(**SPACE)
        signed_in(client, "bob")

        page = client.get("/", headers=HTML)

        assert (page.status_code, 'href="/logout"' in page.text) == (403, True)

    def test_nobody_is_sent_to_sign_in(self) -> None:
        page = studio(**SPACE).get("/?tab=runs", headers=HTML)

        assert (page.status_code, "/login/huggingface?tab=runs" in page.text) == (401, True)

    def test_a_session_ends_when_hugging_face_says_so(self) -> None:
        assert "Sign in" in signed_in(studio(**SPACE), "ann", lasts_s=-1)

    def test_the_account_counts_and_not_its_name(self) -> None:
        client = studio(**SPACE, public=True)

        assert signed_in(client, "bob", sub="1") != signed_in(client, "bob", sub="2")

    @pytest.mark.parametrize("sub", ["../ann", "a/b", "x" * 99])
    def test_a_number_that_cannot_be_a_key_is_refused(self, sub: str) -> None:
        assert "can't read" in signed_in(studio(**SPACE, public=True), "bob", sub=sub)

    def test_visitors_of_a_public_space_are_kept_apart(self) -> None:
        client = studio(**SPACE, public=True, session_secret="secret")
        assert client.get("/api/x").status_code == 401  # it begins with the page

        first = client.get("/").text
        assert first == client.get("/api/x").text
        client.cookies.clear()
        second = client.get("/").text

        assert first != second
        assert first.startswith("visitor-")

    @pytest.mark.parametrize(
        "forge", [lambda real: "visitor-" + "0" * 32 + real[40:], lambda real: "visitor-1", lambda real: ""]
    )
    def test_a_visitor_cannot_be_made_up(self, forge: Callable[[str], str]) -> None:
        client = studio(**SPACE, public=True)
        client.get("/")
        client.cookies.set("atelier", forge(client.cookies["atelier"]), domain="127.0.0.1")

        assert client.get("/api/x").status_code == 401

    def test_in_the_frame_of_the_hub_a_cookie_is_still_kept(self) -> None:
        cookie = studio(**SPACE, public=True).get("/").headers["set-cookie"].lower()

        assert {"secure", "httponly", "samesite=none"} <= {part.strip() for part in cookie.split(";")}


class TestAccount:
    """Who somebody is told to be, and which ways in and out they are shown."""

    def test_on_ones_own_computer_there_is_no_way_in_or_out(self) -> None:
        me = studio().get("/api/who").json()
        assert (me["is_keeper"], me["sign_in"], me["sign_out"]) == (True, "", "")

    def test_with_a_password_there_is_a_way_out(self) -> None:
        client = studio(atelier_password=PASSWORD)
        client.post("/login", data={"password": PASSWORD})
        assert client.get("/api/who").json()["sign_out"] == "/logout"
        client.get("/logout", follow_redirects=False)
        assert client.get("/api/who").status_code == 401

    @pytest.mark.parametrize(("name", "is_keeper"), [("Ann", True), ("bob", False)])
    def test_the_spaces_owner_is_its_keeper(self, name: str, is_keeper: bool) -> None:
        client = studio(**SPACE, public=True)
        signed_in(client, name)
        me = client.get("/api/who").json()
        assert me == {"name": name, "is_keeper": is_keeper, "sign_in": "", "sign_out": "/logout"}

    def test_a_visitor_can_sign_in(self) -> None:
        client = studio(**SPACE, public=True)
        client.get("/")
        me = client.get("/api/who").json()
        assert me == {"name": "", "is_keeper": False, "sign_in": "/login/huggingface", "sign_out": ""}


class TestPublishing:
    """With whose token a LoRA goes to the Hub, or what is missing."""

    def test_on_a_space_it_is_the_persons_own(self) -> None:
        client = studio(**SPACE, hf_token="the Space's")
        signed_in(client, "ann", access_token="ann's", scope="openid profile contribute-repos")
        assert client.get("/api/hub").text == "ann's"

    def test_a_space_that_did_not_ask_for_the_right_is_told_how(self) -> None:
        client = studio(**SPACE, hf_token="the Space's")
        signed_in(client, "ann", access_token="ann's", scope="openid profile")
        assert "hf_oauth_scopes: [contribute-repos]" in client.get("/api/hub").text

    def test_a_visitor_has_to_sign_in(self) -> None:
        client = studio(**SPACE, public=True, hf_token="the Space's")
        client.get("/")
        assert client.get("/api/hub").text == "Sign in with Hugging Face first."

    def test_on_ones_own_computer_it_is_hf_token(self) -> None:
        assert studio(hf_token="mine").get("/api/hub").text == "mine"
        assert "Set HF_TOKEN" in studio(hf_token="").get("/api/hub").text

    def test_who_shares_a_password_shares_no_token(self) -> None:
        client = studio(atelier_password=PASSWORD, hf_token="the owner's")
        client.post("/login", data={"password": PASSWORD})
        assert "from a Space with sign-in" in client.get("/api/hub").text


def test_a_space_whose_sign_in_would_be_a_mock_does_not_start() -> None:
    with pytest.raises(AtelierError, match="SYSTEM has to be 'spaces'"):
        sign_in_for(Settings.model_validate(SPACE | {"system": ""}))


def test_a_space_that_cannot_know_its_people_does_not_start() -> None:
    with pytest.raises(AtelierError, match="hf_oauth: true"):
        sign_in_for(Settings(space_id="ann/studio"))


def test_each_place_has_its_way() -> None:
    assert isinstance(sign_in_for(Settings()), Loopback)
    assert isinstance(sign_in_for(Settings.model_validate({"atelier_password": PASSWORD})), Password)
    assert isinstance(sign_in_for(Settings.model_validate(SPACE)), HuggingFace)
