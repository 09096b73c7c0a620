"""How base models, resolutions and learning rates are offered in Gradio's radios and dropdowns, and read back."""

from collections.abc import Iterable
from typing import Any

import gradio as gr

from app.wording import short_rate
from backend.contract import BaseModelSpec
from backend.errors import AtelierError
from backend.training.presets import Preset

_RESOLUTIONS = (512, 640, 768, 896, 1024, 1280, 1536)
_LEARNING_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 4e-4, 1e-3, 2e-3, 4e-3, 8e-3)

# Quick handlers stay out of the queue, and out of the public API.
QUICK = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

Choices = list[tuple[str, str]]


def base_model_dropdown(specs: Iterable[BaseModelSpec], chosen: str) -> Any:
    """Return the dropdown of base models by name, with the id `chosen` chosen."""
    choices = [(spec.name, spec.id) for spec in specs]
    return gr.Dropdown(choices, value=chosen, label="Base model", filterable=False, interactive=True)


def base_model_note(spec: BaseModelSpec, obstacle: AtelierError | None = None) -> str:
    """Return what to know of a base model before choosing it, as Markdown; `obstacle` is why it is no use here."""
    licence = f"[{spec.licence.name}]({spec.licence.link})" if spec.licence.link else spec.licence.name
    gated = " Its terms have to be accepted on Hugging Face first." if spec.licence.gated else ""
    instead = f"**{obstacle.message}** {obstacle.hint}\n\n" if obstacle else ""
    return f"{instead}{spec.summary} Licence: {licence}.{gated}"


def preset_radio(presets: list[Preset]) -> gr.Radio:
    """Return the presets of a base model as chips, the first chosen; nothing to see when it has none."""
    choices = [(preset.name, preset.id) for preset in presets]
    first = presets[0].id if presets else None
    return gr.Radio(choices, value=first, label="Preset", elem_classes="chips", visible=bool(presets))


def resolution_choices(spec: BaseModelSpec, chosen: Iterable[int]) -> list[tuple[str, int]]:
    """Return the resolutions a base model can be trained at, those chosen among them."""
    fits = {side for side in _RESOLUTIONS if side % spec.size_multiple == 0 and side * side <= spec.max_pixels}
    return [(str(side), side) for side in sorted(fits | set(spec.training.resolution) | set(chosen))]


def learning_rate_choices(usual: float) -> Choices:
    """Return learning rates by steps that matter, the base model's own marked."""
    rates = sorted({*_LEARNING_RATES, usual})
    return [(f"{short_rate(rate)} (usual)" if rate == usual else short_rate(rate), short_rate(rate)) for rate in rates]


def learning_rate_value(rate: float) -> str:
    """Return the value that `learning_rate_choices` offers for a rate."""
    return short_rate(rate)
