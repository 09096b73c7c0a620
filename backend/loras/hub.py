"""The Hugging Face Hub: a LoRA's model card, and its way there with the token of whoever publishes it.

The token comes with a request, goes to huggingface_hub, and is neither stored nor logged.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from huggingface_hub import CommitOperationAdd, HfApi, ModelCardData
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.errors import HTTPError as ConnectionFailed  # type: ignore[attr-defined]  # of its own httpx
from pydantic import SecretStr

from backend.contract import BaseModelSpec, file_stem
from backend.errors import HubError, InvalidRequest
from backend.hugging_face import bound_waiting
from backend.loras.shelf import Lora

T = TypeVar("T")

_ANSWERS_S = 20.0
_ACCOUNTS = 1000  # remembered
_TAGS = ["text-to-image", "diffusers", "lora", "template:sd-lora"]


class HubAccess(NamedTuple):
    """With what somebody may publish, or what they lack."""

    token: SecretStr | None
    missing: str = ""


class CardPicture(NamedTuple):
    """A picture on a model card."""

    prompt: str
    file: str  # its path in the repository


def weights_name(lora: Lora) -> str:
    """Return what a LoRA's file is called once it leaves the studio."""
    return f"{file_stem(lora.name)}.safetensors"


def model_card(lora: Lora, spec: BaseModelSpec | None, repo: str, pictures: Sequence[CardPicture]) -> str:
    """Return the README.md of a LoRA's repository; `spec` is its base model, None when that is gone."""
    trigger = lora.record.trigger_word
    own_licence = spec is not None and spec.licence.hub_id == "other"
    front = ModelCardData(
        base_model=(spec.weights.repo or None) if spec else None,
        base_model_relation="adapter" if spec and spec.weights.repo else None,
        pipeline_tag="text-to-image",
        tags=[*_TAGS, *([spec.architecture] if spec else [])],
        instance_prompt=trigger or None,
        widget=[{"text": each.prompt, "output": {"url": each.file}} for each in pictures] or None,
        license=spec.licence.hub_id if spec else None,
        license_name=file_stem(spec.licence.name).lower() if own_licence and spec else None,
        license_link=spec.licence.link if own_licence and spec else None,
    )
    parts = [f"---\n{front.to_yaml()}\n---", f"# {_plain(lora.name)}"]
    if pictures:
        parts.append("<Gallery />")
    parts.append(_origin(lora, spec))
    if trigger:
        parts.append(f"## Trigger word\n\nPut `{trigger.replace('`', '')}` into the prompt.")
    if spec and spec.weights.repo:
        parts.append(_usage(lora, spec, repo))
    if spec and spec.licence.link:
        parts.append(f"## Licence\n\nThat of the base model: [{_plain(spec.licence.name)}]({spec.licence.link}).")
    return "\n\n".join(parts) + "\n"


class Hub:
    """What is asked of the Hub. Raises HubError with a sentence when it says no or nothing."""

    def __init__(self, endpoint: str | None = None) -> None:
        bound_waiting()
        self._endpoint = endpoint  # None: huggingface_hub's own
        self._accounts: OrderedDict[str, str] = OrderedDict()  # by the hash of a token: it itself is kept nowhere
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="hub")

    def account(self, token: SecretStr) -> str:
        """Return whose a token is."""
        with _in_words():
            # The Hub answers this one question but a few times a minute.
            known = hashlib.sha256(token.get_secret_value().encode()).hexdigest()
            if known not in self._accounts:
                self._accounts[known] = str(self._soon(self._api(token).whoami)["name"])
                if len(self._accounts) > _ACCOUNTS:
                    self._accounts.popitem(last=False)
            return self._accounts[known]

    def create(self, token: SecretStr, repo: str, *, may_exist: bool) -> str:
        """Make a private repository and return its address. Raises InvalidRequest when it is there and may not be."""
        with _in_words():
            try:
                api = self._api(token)
                return str(self._soon(lambda: api.create_repo(repo, private=True, exist_ok=may_exist)))
            except HfHubHTTPError as error:
                if error.response.status_code != 409:
                    raise
                raise InvalidRequest(f"You already have a repository {repo}.", "Choose another name.") from error

    def upload(self, token: SecretStr, repo: str, files: dict[str, Path | bytes]) -> None:
        """Put files into a repository in one commit."""
        added = [
            CommitOperationAdd(name, file if isinstance(file, bytes) else str(file)) for name, file in files.items()
        ]
        with _in_words():
            self._api(token).create_commit(repo, added, commit_message="Publish the LoRA")

    def _soon(self, call: Callable[[], T]) -> T:
        """Return what a call gives within what a page waits for. Raises TimeoutError, an OSError."""
        return self._pool.submit(call).result(_ANSWERS_S)

    def _api(self, token: SecretStr) -> HfApi:
        return HfApi(endpoint=self._endpoint, token=token.get_secret_value())


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise HubError(
                "Hugging Face doesn't accept the token.", "Sign in again, or make a new HF_TOKEN."
            ) from error
        if status == 403:
            raise HubError("The token may not create repositories.", "Use one with write access.") from error
        raise HubError(f"Hugging Face answered with an error ({status}).", "Try again in a few minutes.") from error
    except (ConnectionFailed, OSError) as error:
        raise HubError("Hugging Face doesn't answer.", "Check the connection, and try again.") from error


def _origin(lora: Lora, spec: BaseModelSpec | None) -> str:
    record = lora.record
    how = [f"rank {record.rank}" if record.rank else "", f"{record.steps:,} steps" if record.steps else ""]
    told = ", ".join(part for part in how if part)
    base_model = spec.name if spec else record.base_model
    return f"A LoRA for {base_model}{f' ({told})' if told else ''}, published from LoRA Atelier."


def _usage(lora: Lora, spec: BaseModelSpec, repo: str) -> str:
    return (
        "## Use it with diffusers\n\n```python\nfrom diffusers import DiffusionPipeline\n\n"
        f'pipeline = DiffusionPipeline.from_pretrained("{spec.weights.repo}").to("cuda")\n'
        f'pipeline.load_lora_weights("{repo}", weight_name="{weights_name(lora)}")\n'
        f"picture = pipeline({lora.record.trigger_word or 'a prompt'!r}).images[0]\n```"
    )


def _plain(text: str) -> str:
    """Return words that Markdown takes for nothing but words."""
    return "".join(f"\\{character}" if character in r"\`*_{}[]()<>#+!|" else character for character in text)
