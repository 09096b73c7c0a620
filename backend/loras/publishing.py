"""Publishing LoRAs: what would go to the Hub, shown before it goes, and how far it has got. It goes in a thread, as
large files take minutes; what it did is noted with the LoRA."""

import re
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, SecretStr

from backend.contract import BaseModelSpec, ImageId, ImageRecord, LoraId, Message, StorageKey, file_stem
from backend.errors import AtelierError, Forbidden, InvalidRequest, NotFound
from backend.keys import ImageKeys
from backend.loras.hub import CardPicture, Hub, HubAccess, model_card, weights_name
from backend.loras.loras import Loras
from backend.loras.shelf import Lora
from backend.storage import Storage

_AT_ONCE = 4
_DEADLINE_S = 1800.0
_REPO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class ChosenPicture(Message):
    """A picture for the model card: one made with the LoRA, or a sample of its training."""

    image_id: ImageId | None = None
    sample_key: StorageKey | None = None


class Wish(Message):
    """What to publish a LoRA as."""

    repo_name: str = ""  # '': after the LoRA
    pictures: list[ChosenPicture] = Field([], max_length=12)


class Preview(NamedTuple):
    """What would go."""

    repo: str
    card: str
    files: list[str]


class Publication(NamedTuple):
    """How far it has got."""

    state: Literal["none", "going", "done", "failed"]
    message: str = ""
    address: str = ""


class _File(NamedTuple):
    name: str
    prompt: str
    bucket: Literal["loras", "outputs"]
    key: str


class Publishing:
    """Previews and publishes LoRAs."""

    def __init__(
        self, storage: Storage, loras: Loras, base_models: dict[str, BaseModelSpec], hub: Hub | None = None
    ) -> None:
        self._buckets = {"loras": storage.loras, "outputs": storage.outputs}
        self._loras = loras
        self._base_models = base_models
        self._hub = hub or Hub()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="publishing")
        self._states: dict[tuple[str, LoraId], tuple[Publication, float]] = {}
        self._lock = threading.Lock()

    def preview(self, owner: str, lora_id: LoraId, wish: Wish, access: HubAccess) -> Preview:
        """Return what would go. Raises Forbidden when there is no token, NotFound for a picture that isn't theirs."""
        lora = self._loras.get(owner, lora_id)
        repo = self._repo(lora, wish, _token(access))
        files = self._files(owner, lora, wish)
        return Preview(repo, self._card(lora, repo, files), ["README.md", weights_name(lora), *(f.name for f in files)])

    def start(self, owner: str, lora_id: LoraId, wish: Wish, access: HubAccess) -> None:
        """Publish a LoRA into a private repository. Returns at once; `state` says how far it has got."""
        token, lora = _token(access), self._loras.get(owner, lora_id)
        repo, files = self._repo(lora, wish, token), self._files(owner, lora, wish)
        with self._lock:
            if self.state(owner, lora_id).state == "going":
                raise InvalidRequest("This LoRA is already being published.", "Wait until it is done.")
            self._states[owner, lora_id] = (Publication("going", f"Sending {repo}…"), time.monotonic())
        self._pool.submit(self._publish, owner, lora, repo, files, token)

    def state(self, owner: str, lora_id: LoraId) -> Publication:
        """Return how far publishing has got, as this app knows."""
        publication, since = self._states.get((owner, lora_id), (Publication("none"), 0.0))
        if publication.state == "going" and time.monotonic() - since > _DEADLINE_S:
            return Publication("failed", f"It wasn't done after {_DEADLINE_S / 60:.0f} minutes. Try again.")
        return publication

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _publish(self, owner: str, lora: Lora, repo: str, files: list[_File], token: SecretStr) -> None:
        known, address = (owner, lora.record.id), ""
        try:
            address = self._hub.create(token, repo, may_exist=lora.label.published.endswith(f"/{repo}"))
            self._loras.mark_published(*known, address)
            with tempfile.TemporaryDirectory(prefix="atelier-publish-") as folder:
                self._hub.upload(token, repo, self._fetched(lora, repo, files, Path(folder)))
            done = Publication("done", "", address)
        except AtelierError as error:
            done = Publication("failed", str(error), address)
        except Exception as error:
            done = Publication("failed", f"Publishing broke off ({type(error).__name__}). Try again.", address)
        self._states[known] = (done, time.monotonic())

    def _fetched(self, lora: Lora, repo: str, files: list[_File], folder: Path) -> dict[str, Path | bytes]:
        weights = folder / "weights"
        self._buckets["loras"].download(lora.record.key, weights)
        pictures = {file.name: self._buckets[file.bucket].get(file.key) for file in files}
        return {"README.md": self._card(lora, repo, files).encode(), weights_name(lora): weights, **pictures}

    def _card(self, lora: Lora, repo: str, files: list[_File]) -> str:
        pictures = [CardPicture(file.prompt, file.name) for file in files]
        return model_card(lora, self._base_models.get(lora.record.base_model), repo, pictures)

    def _repo(self, lora: Lora, wish: Wish, token: SecretStr) -> str:
        name = wish.repo_name.strip() or file_stem(lora.name)
        if not _REPO_NAME.fullmatch(name) or ".." in name or "--" in name or name.endswith((".git", ".", "-")):
            raise InvalidRequest(
                f"'{name[:100]}' can't be a repository name.", "Use up to 96 letters, digits, '-', '_' and '.'."
            )
        return f"{self._hub.account(token)}/{name}"

    def _files(self, owner: str, lora: Lora, wish: Wish) -> list[_File]:
        return [self._file(owner, lora, number, chosen) for number, chosen in enumerate(wish.pictures)]

    def _file(self, owner: str, lora: Lora, number: int, chosen: ChosenPicture) -> _File:
        if chosen.image_id:
            keys = ImageKeys(owner, chosen.image_id)
            record = self._buckets["outputs"].find_message(keys.record, ImageRecord)
            if record:
                return _File(f"images/{number}.png", record.prompt, "outputs", keys.image)
        elif lora.record.run_id:
            samples = self._loras.making(owner, lora.record.run_id).samples
            if sample := next((each for each in samples if each.key == chosen.sample_key), None):
                return _File(f"images/{number}.webp", sample.prompt, "loras", sample.key)
        raise NotFound("One of the chosen pictures no longer exists.", "Choose again.")


def _token(access: HubAccess) -> SecretStr:
    if access.token is None:
        raise Forbidden("Publishing isn't set up yet.", access.missing)
    return access.token
