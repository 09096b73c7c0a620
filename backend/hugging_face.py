"""How long the Hugging Face Hub is waited for: by itself huggingface_hub waits for ever where nothing is said."""

from functools import cache
from typing import Any

from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory  # for its hooks, which heed HF_HUB_OFFLINE

SILENT_S = 60.0  # connecting, or between two pieces of an answer


@cache
def bound_waiting() -> None:
    """Make huggingface_hub give up on a Hub that is silent, in all of this process."""
    set_client_factory(_client)


def _client() -> Any:
    client = default_client_factory()
    client.timeout = SILENT_S
    return client
