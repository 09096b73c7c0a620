"""`atelier doctor` in words: a line for each thing, well or what to do, the sign-in's among them."""

from collections.abc import Iterator

from app.sign_in import sign_in_for
from backend.errors import AtelierError
from backend.operations.doctor import Finding, examine
from backend.settings import Settings


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
    try:
        known_by = type(sign_in_for(settings)).__name__
    except AtelierError as error:
        yield Finding("Sign-in", False, str(error))
        return
    ways = {"HuggingFace": "with Hugging Face", "Password": "by password", "Loopback": "on this computer alone"}
    yield Finding("Sign-in", True, ways[known_by])
