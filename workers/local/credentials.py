"""The machine's own secrets: made once for a home folder, readable by its owner alone."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from backend.errors import MachineError


@dataclass(frozen=True)
class Credentials:
    """Keys to this machine's storage and gateway; worth nothing anywhere else."""

    access_key_id: str
    secret_access_key: str
    api_key: str


def own_credentials(home: Path) -> Credentials:
    """Return the credentials in <home>/credentials.json, making them first where there are none."""
    path = home / "credentials.json"
    if not path.exists():
        _create(path)
    try:
        return Credentials(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise MachineError(
            f"{path} can't be read: {error}", "Delete it: new keys are made at the next start."
        ) from error


def _create(path: Path) -> None:
    made = Credentials(secrets.token_hex(10), secrets.token_urlsafe(30), secrets.token_urlsafe(30))
    # Written beside and moved, so that a crash leaves no half of a file; its mode is set while it is still empty.
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600, exist_ok=False)
    unfinished.write_text(json.dumps(asdict(made)))
    unfinished.rename(path)
