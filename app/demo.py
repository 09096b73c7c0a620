"""The studio's main job without a browser: sample pictures → LoRA → pictures with and without it → a contact sheet."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

from backend.contract import Phase
from backend.errors import AtelierError
from backend.runs.state import RunState
from backend.settings import Settings
from backend.studio import Studio

OWNER = "local"
BASE_MODEL = "tiny-flux"
TRIGGER = "zorbot"
PROMPTS = (
    "a zorbot",
    "a zorbot on a yellow background",
    "a zorbot on a blue background",
    "a zorbot on a pink background",
)
SEED = 7
_POLL_S = 0.25
_DEADLINE_S = 3600.0
_TILE = 256  # pixels


def run_demo(settings_when_ready: Callable[[], Settings], output: Path, steps: int) -> None:
    """Do it, print each phase with its time, and write everything to `output`."""
    began = time.monotonic()
    studio = Studio.connect(settings_when_ready())
    _say("local machine ready", began)
    try:
        dataset = studio.datasets.sample(OWNER)
        _say(f"{len(dataset.images)} sample pictures stored", began)
        run_id = studio.training.start(
            OWNER, dataset.id, BASE_MODEL, lora_name="Zorbot demo", trigger_word=TRIGGER, steps=steps, save_every=steps
        )
        trained = _wait(studio, run_id, began)
        assert trained.training, "a run that is done has a result"  # noqa: S101
        output.mkdir(parents=True, exist_ok=True)
        lora_key = trained.training.lora_key
        studio.media.save("loras", lora_key, output / "zorbot.safetensors")
        without = [
            _picture(studio, prompt, None, output / f"without-{n}.png", began) for n, prompt in enumerate(PROMPTS, 1)
        ]
        with_it = [
            _picture(studio, prompt, lora_key, output / f"with-{n}.png", began) for n, prompt in enumerate(PROMPTS, 1)
        ]
        _contact_sheet(without, with_it).save(output / "contact-sheet.png")
        _say(f"everything is in {output}/", began)
    finally:
        studio.close()


def _picture(studio: Studio, prompt: str, lora_key: str | None, path: Path, began: float) -> Path:
    run_id = studio.generation.start(OWNER, BASE_MODEL, prompt=prompt, lora_key=lora_key, seed=SEED, count=1)
    made = _wait(studio, run_id, began, quiet=True)
    assert made.generation, "a run that is done has a result"  # noqa: S101
    studio.media.save("outputs", made.generation.images[0].key, path)
    _say(f"{path.name}: {prompt}", began)
    return path


def _wait(studio: Studio, run_id: str, began: float, *, quiet: bool = False) -> RunState:
    """Wait for a run to be done, saying what it is at."""
    shown: Phase | None = None
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        state = studio.runs.state(OWNER, run_id)
        if state.status == "done":
            _print_phases(state, quiet)
            return state
        if state.ended and state.failure:
            raise AtelierError(state.failure.message, state.failure.hint)
        if not quiet and state.progress:
            shown = _say_phase(state, shown, began)
        time.sleep(_POLL_S)
    raise AtelierError(f"Run {run_id} was not done after {_DEADLINE_S / 60:.0f} minutes.")


def _say_phase(state: RunState, shown: Phase | None, began: float) -> Phase | None:
    progress = state.progress
    if progress is None:
        return shown
    if progress.phase == "training" and progress.seconds_left is not None:
        print(f"\r  step {progress.step}/{progress.steps}, {progress.seconds_left:.0f} s left   ", end="", flush=True)
    if progress.phase != shown:
        _say(progress.phase, began)
    return progress.phase


def _print_phases(state: RunState, quiet: bool) -> None:
    if not quiet and state.training:
        print("  " + " · ".join(f"{spent.phase} {spent.seconds:.1f} s" for spent in state.training.phases))


def _contact_sheet(without: list[Path], with_it: list[Path]) -> Image.Image:
    """Two rows of pictures: the base model alone, and with the LoRA."""
    label = 28
    sheet = Image.new("RGB", (_TILE * len(without), 2 * (_TILE + label)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (title, paths) in enumerate((("without the LoRA", without), ("with the LoRA", with_it))):
        top = row * (_TILE + label)
        draw.text((10, top + 8), title, fill="black")
        for column, path in enumerate(paths):
            tile = Image.open(path).convert("RGB").resize((_TILE, _TILE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (column * _TILE, top + label))
    return sheet


def _say(what: str, began: float) -> None:
    print(f"\r{time.monotonic() - began:6.1f} s  {what}".ljust(min(80, shutil.get_terminal_size().columns)), flush=True)
