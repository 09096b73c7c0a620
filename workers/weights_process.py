"""Fetches a base model's weights in a process of its own: a cancel ends that at once, which no thread allows.

`python -m workers.weights_process` is that process: a BaseModelSpec on standard input, a JSON line an event on
standard output.
"""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from backend.contract import BaseModelSpec, Message
from backend.errors import AtelierError, MachineError, WeightsError
from backend.settings import Settings
from workers.environment import child_environment
from workers.guard import guarded
from workers.processes import describe_exit, start_child
from workers.weights import fetch_weights, find_weights
from workers.weights_snapshot import ReportBytes

FETCH_S = 6 * 3600.0  # 34 GB over a slow connection, after another worker that gave up
_ROOT = Path(__file__).resolve().parents[1]


class Arriving(Message):
    """So many bytes are here."""

    event: Literal["arriving"] = "arriving"
    name: str
    done: int
    total: int


class Fetched(Message):
    """All of it is here; the process ends."""

    event: Literal["fetched"] = "fetched"
    folder: Path


class Refused(Message):
    """It can't be had; the process ends."""

    event: Literal["refused"] = "refused"
    message: str
    hint: str


_Event = Arriving | Fetched | Refused
_EVENT: TypeAdapter[_Event] = TypeAdapter(Annotated[_Event, Field(discriminator="event")])


async def bring_weights(spec: BaseModelSpec, settings: Settings, report: ReportBytes) -> Path:
    """Return the folder a base model can be loaded from, downloading it first if need be.

    `report` hears of bytes. When this is cancelled the download has ended and its lock is free. Raises WeightsError.
    """
    if folder := await asyncio.to_thread(find_weights, spec, settings):
        return folder
    ends: list[Fetched | Refused] = []

    def hear(line: str) -> None:
        match _read(line):
            case Arriving(name=name, done=done, total=total):
                report(name, done, total)
            case Fetched() | Refused() as end:
                ends.append(end)

    async with guarded() as guard:
        child = await start_child(
            [sys.executable, "-m", "workers.weights_process"],
            environment=_environment(settings),
            name=f"The download of {spec.name}",
            guard=guard,
            on_line=hear,
            stdin=True,
        )
        try:
            async with asyncio.timeout(FETCH_S):
                await child.write(spec.model_dump_json())
                child.close_stdin()
                code = await child.wait()
        except TimeoutError:
            raise WeightsError(f"{child.name} took more than {FETCH_S / 3600:g} hours.", "Try again later.") from None
        except MachineError as error:
            raise WeightsError(str(error)) from error
        finally:
            await child.stop(0)
    match ends:
        case [Fetched(folder=folder)]:
            return folder
        case [Refused(message=message, hint=hint)]:
            raise WeightsError(message, hint)
    last = " / ".join(child.last_lines(3))
    raise WeightsError(f"{child.name} {describe_exit(code)}. Its last words: {last}", "Try again.")


def _environment(settings: Settings) -> dict[str, str]:
    token = {"HF_TOKEN": settings.hf_token.get_secret_value()} if settings.hf_token else {}
    return child_environment(
        {
            **token,
            "ATELIER_BASE_MODELS": str(settings.atelier_base_models.absolute()),
            "ATELIER_VOLUME": str(settings.atelier_volume.absolute()),
            "ATELIER_TRAINING_ENGINE": settings.atelier_training_engine,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": str(_ROOT),
            "PYTHONUNBUFFERED": "1",
        },
        also=("HOME",),
    )


def _read(line: str) -> _Event | None:
    try:
        return _EVENT.validate_json(line)
    except ValidationError:  # a line of a library
        return None


def _tell(event: _Event) -> None:
    print(event.model_dump_json())


def main() -> int:
    """Fetch what standard input names; return the exit code."""
    spec = BaseModelSpec.model_validate_json(sys.stdin.read())
    try:
        folder = fetch_weights(
            spec, Settings(), lambda name, done, total: _tell(Arriving(name=name, done=done, total=total))
        )
    except AtelierError as error:
        _tell(Refused(message=error.message, hint=error.hint))
        return 1
    _tell(Fetched(folder=folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
