"""`atelier doctor` in words: a line for each thing, well or what to do, the sign-in's among them."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from app.sign_in import sign_in_for
from backend.errors import AtelierError, InvalidRequest
from backend.operations.doctor import Finding, examine
from backend.settings import Settings


def origin_of(address: str) -> str:
    """Return where a studio is, of what people have in their browser's address bar. Raises InvalidRequest."""
    parts = urlsplit(address if "://" in address else f"https://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(f"{address} is no address.", "Give one such as https://me-atelier.hf.space.")
    if parts.hostname == "huggingface.co":
        raise InvalidRequest(
            "huggingface.co only puts a frame around the studio.",
            "Give the Space's own address, such as https://me-atelier.hf.space: it is under ⋮ › Embed this Space.",
        )
    return f"{parts.scheme}://{parts.netloc}"


def all_is_well(settings: Settings, address: str) -> bool:
    """Print a line for each thing as it is found, and return whether all are well."""
    unwell = 0
    for finding in _everything(settings, address):
        unwell += not finding.well
        print(f"{'ok    ' if finding.well else 'TO DO '} {finding.what}: {finding.said}", flush=True)
    print("All is well." if not unwell else f"{unwell} to do.")
    return not unwell


def _everything(settings: Settings, address: str) -> Iterator[Finding]:
    yield from examine(settings, address)
    if address:  # people sign in there, and not here
        return
    try:
        known_by = type(sign_in_for(settings)).__name__
    except AtelierError as error:
        yield Finding("Sign-in", False, str(error))
        return
    ways = {"HuggingFace": "with Hugging Face", "Password": "by password", "Loopback": "on this computer alone"}
    yield Finding("Sign-in", True, ways[known_by])
