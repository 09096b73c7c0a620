"""What the Train form comes to before it is started: a request, how long it takes, and ai-toolkit's configuration."""

from typing import Any

import gradio as gr
from pydantic import ValidationError

from app.session import owner_of
from app.wording import in_words, length_of_time
from backend.contract import TrainingRequest, explain
from backend.errors import AtelierError, InvalidRequest
from backend.studio import Studio
from backend.toolkit_config import USUAL_GPU_GB, config_text
from backend.training.estimate import Estimate, Estimates

# The fields of a request that the form has, in the order of its components. `max_dollars` becomes `max_minutes`.
SETTINGS = (
    "steps", "rank", "learning_rate", "resolution", "batch_size", "alpha", "save_every", "caption_dropout",
    "prior_preservation", "seed", "sample_prompts", "ema", "low_vram", "quantize", "cache_text_embeddings",
    "max_minutes", "max_dollars",
)  # fmt: skip
RECOMMENDED = SETTINGS[:9]  # what a base model and a preset settle
BY_MEMORY = SETTINGS[11:15]  # what the GPU's memory decides, unless somebody switches it
_SWITCHED = {"on": True, "off": False}


def wishes_of(values: tuple[Any, ...], estimates: Estimates) -> dict[str, Any]:
    """Return the form's values as fields of a request; what is left to the rank, the GPU or nobody is left out."""
    wishes = dict(zip(SETTINGS, values, strict=True))
    prompts = str(wishes["sample_prompts"] or "").splitlines()
    wishes["sample_prompts"] = [prompt.strip() for prompt in prompts if prompt.strip()]
    for field in BY_MEMORY:
        wishes[field] = _SWITCHED.get(wishes[field])
    dollars = wishes.pop("max_dollars")
    limits = [wishes["max_minutes"] or None, estimates.minutes_for(dollars or 0) or None]
    wishes["max_minutes"] = min((each for each in limits if each), default=None)
    wishes["alpha"] = wishes["alpha"] or None
    return wishes


class PreviewHandlers:
    """What is said of a training before it starts. `values` are those of SETTINGS."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def forecast(self, request: gr.Request, base_model: str, *values: Any) -> str:
        """Return how long the training will take, and at what price; nothing for one that can't be."""
        try:
            spec = self._studio.base_models[base_model]
            if self._studio.preflight.obstacle(spec):
                return ""
            # Any name and dataset will do: neither makes it longer.
            wishes = wishes_of(values, self._studio.estimates) | {"lora_name": "x", "dataset_key": "x"}
            settings = TrainingRequest.model_validate(wishes).settings_for(spec)
            estimate = self._studio.estimates.of(owner_of(request), spec, settings)
        except (AtelierError, ValueError):
            return ""
        return _in_words(estimate) if estimate else ""

    def config(self, base_model: str, lora_name: str, trigger_word: str, *values: Any) -> str:
        """Return what ai-toolkit would be told, or the sentence that says why there is nothing to tell."""
        try:
            spec = self._studio.base_models[base_model]
            if not spec.ai_toolkit:
                return f"{spec.name} is trained by the studio itself; ai-toolkit doesn't know it."
            named = {"lora_name": lora_name.strip() or "unnamed", "trigger_word": trigger_word}
            fixed = named | {"base_model": spec.model_dump()}
            wishes = wishes_of(values, self._studio.estimates) | fixed | {"dataset_key": "x"}
            return config_text(TrainingRequest.model_validate(wishes), USUAL_GPU_GB)
        except ValidationError as error:
            return in_words(InvalidRequest(explain(error)))
        except AtelierError as error:
            return in_words(error)


def _in_words(estimate: Estimate) -> str:
    price = f" and ${estimate.dollars:.2f}" if estimate.dollars is not None else ""
    trainings = "training" if estimate.past_runs == 1 else f"{estimate.past_runs} trainings"
    basis = (
        f"Based on your last {trainings} like this."
        if estimate.past_runs
        else "A rough guess, until you have trained one like this."
    )
    return f"**About {length_of_time(estimate.seconds)}{price}**\n\n{basis}"
