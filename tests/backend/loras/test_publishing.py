"""What goes to the Hugging Face Hub: the model card, and a repository on a server shaped like the Hub."""

import logging
import time
from collections.abc import Iterator

import pytest
import yaml
from pydantic import SecretStr

from backend.base_models import load_base_model, load_base_models
from backend.contract import LoraLabel, LoraRecord, new_run_id
from backend.errors import Forbidden, HubError, InvalidRequest, NotFound
from backend.keys import LoraKeys
from backend.loras.hub import CardPicture, Hub, HubAccess, model_card
from backend.loras.loras import Loras
from backend.loras.publishing import ChosenPicture, Publication, Publishing, Wish
from backend.loras.shelf import Lora
from backend.settings import Settings
from backend.storage import Storage
from tests.backend.hub_server import HubServer
from tests.backend.loras.test_loras import loras_of, train

TOKEN = "hf_a-secret-that-nobody-may-see"


def lora(name: str = "My robot", **changes: object) -> Lora:
    said = {
        "id": new_run_id("train"), "owner": "zoe", "name": "x", "key": "loras/zoe/1/x.safetensors", "sha256": "a" * 64,
        "bytes": 1, "base_model": "flux1-dev", "architecture": "flux", "trigger_word": "r0bot", "rank": 16,
        "steps": 1200, "created_at": 1,
    }  # fmt: skip
    return Lora(LoraRecord.model_validate(said | changes), LoraLabel(name=name, note="private"), None)


def front_of(card: str) -> dict[str, object]:
    front: dict[str, object] = yaml.safe_load(card.split("---\n")[1])
    return front


def test_the_card_says_what_the_hub_looks_for() -> None:
    pictures = [CardPicture("a r0bot: 'happy' # really", "images/0.png")]
    card = model_card(lora(), load_base_model("flux1-dev"), "zoe/My-robot", pictures)
    front = front_of(card)
    assert front["base_model"] == "black-forest-labs/FLUX.1-dev"
    assert front["instance_prompt"] == "r0bot"
    assert {"lora", "diffusers", "text-to-image"} <= set(front["tags"])  # type: ignore[call-overload]
    assert (front["license"], front["license_name"]) == ("other", "flux-1-dev-non-commercial-license")
    assert str(front["license_link"]).startswith("https://")
    assert front["widget"] == [{"text": "a r0bot: 'happy' # really", "output": {"url": "images/0.png"}}]
    assert "<Gallery />" in card
    assert 'load_lora_weights("zoe/My-robot", weight_name="My-robot.safetensors")' in card
    assert "private" not in card


@pytest.mark.parametrize("spec", load_base_models().values(), ids=lambda spec: spec.id)
def test_every_base_model_has_a_licence_that_the_hub_knows(spec: object) -> None:
    front = front_of(model_card(lora(), spec, "zoe/x", []))  # type: ignore[arg-type]
    assert front["license"] in {"apache-2.0", "openrail++", "other"}
    assert front["license"] != "other" or {"license_name", "license_link"} <= set(front)


def test_words_from_people_stay_words() -> None:
    card = model_card(lora("a [link](x) _b_ `c`", trigger_word="`--- \"'"), None, "zoe/x", [])
    assert front_of(card)["instance_prompt"] == "`--- \"'"
    assert "# a \\[link\\]\\(x\\) \\_b\\_ \\`c\\`" in card
    assert "base_model" not in front_of(card)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(TOKEN) as hub:
        yield hub


@pytest.fixture
def loras(storage_settings: Settings) -> Loras:
    return loras_of(storage_settings)


@pytest.fixture
def publishing(storage: Storage, loras: Loras, hub: HubServer) -> Iterator[Publishing]:
    publishing = Publishing(storage, loras, load_base_models(), Hub(hub.endpoint))
    yield publishing
    publishing.close()


def published(publishing: Publishing, owner: str, lora_id: str, wish: Wish, token: str = TOKEN) -> Publication:
    publishing.start(owner, lora_id, wish, HubAccess(SecretStr(token)))
    deadline = time.monotonic() + 20
    while (publication := publishing.state(owner, lora_id)).state == "going":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return publication


def test_what_was_previewed_is_what_goes(
    storage: Storage, publishing: Publishing, loras: Loras, hub: HubServer, owner: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    run = train(storage, owner)
    loras.describe(owner, run.run_id, name="Robo bot", note="for me alone", tags=["secret"])
    wish = Wish(pictures=[ChosenPicture(sample_key=run.sample(20, 0))])
    preview = publishing.preview(owner, run.run_id, wish, HubAccess(SecretStr(TOKEN)))
    assert preview.repo == "zoe/Robo-bot"
    assert hub.repositories == {}

    done = published(publishing, owner, run.run_id, wish)

    assert (done.state, done.address) == ("done", f"{hub.endpoint}/zoe/Robo-bot")
    assert hub.visibilities == {"zoe/Robo-bot": "private"}
    files = hub.repositories["zoe/Robo-bot"]
    assert sorted(files) == sorted(preview.files) == ["README.md", "Robo-bot.safetensors", "images/0.webp"]
    assert files["README.md"].decode() == preview.card
    assert files["Robo-bot.safetensors"] == b"weights of 20"
    assert loras.get(owner, run.run_id).label.published == done.address
    kept = [storage.loras.get(stored.key) for stored in storage.loras.list_all(LoraKeys(owner, run.run_id).prefix)]
    assert not any(TOKEN.encode() in each for each in kept)
    assert TOKEN not in caplog.text


def test_what_broke_off_can_be_published_again(
    storage: Storage, publishing: Publishing, hub: HubServer, owner: str
) -> None:
    lora_id, hub.broken = train(storage, owner).run_id, 1
    failed = published(publishing, owner, lora_id, Wish())
    assert (failed.state, failed.message.split(".")[0]) == ("failed", "Hugging Face answered with an error (400)")
    assert published(publishing, owner, lora_id, Wish()).state == "done"


def test_a_repository_of_something_else_is_left_alone(
    storage: Storage, publishing: Publishing, hub: HubServer, owner: str
) -> None:
    hub.repositories["zoe/taken"] = {"README.md": b"mine"}
    failed = published(publishing, owner, train(storage, owner).run_id, Wish(repo_name="taken"))
    assert failed.message == "You already have a repository zoe/taken. Choose another name."
    assert hub.repositories["zoe/taken"] == {"README.md": b"mine"}


def test_what_cannot_be_published_says_why(
    storage: Storage, publishing: Publishing, hub: HubServer, owner: str
) -> None:
    lora_id, access = train(storage, owner).run_id, HubAccess(SecretStr(TOKEN))
    other = train(storage, "owner-other")
    with pytest.raises(Forbidden, match=r"Publishing isn't set up yet\. Sign in first\."):
        publishing.start(owner, lora_id, Wish(), HubAccess(None, "Sign in first."))
    with pytest.raises(HubError, match="doesn't accept the token"):
        publishing.preview(owner, lora_id, Wish(), HubAccess(SecretStr("another")))
    with pytest.raises(InvalidRequest, match="can't be a repository name"):
        publishing.preview(owner, lora_id, Wish(repo_name="../x"), access)
    for key in (other.sample(20, 0), other.request):
        with pytest.raises(NotFound):
            publishing.preview(owner, lora_id, Wish(pictures=[ChosenPicture(sample_key=key)]), access)
    assert hub.repositories == {}


def test_a_hub_that_is_not_there_is_named(storage: Storage, loras: Loras, owner: str) -> None:
    publishing = Publishing(storage, loras, {}, Hub("http://127.0.0.1:9"))
    with pytest.raises(HubError, match="doesn't answer"):
        publishing.preview(owner, train(storage, owner).run_id, Wish(), HubAccess(SecretStr(TOKEN)))
