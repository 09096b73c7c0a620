"""What happens on the set-up side of the Train tab: pictures and presets become settings, and settings a run."""

from typing import Any

import gradio as gr

from app.identifiers import dataset_id_in, run_id_in
from app.session import owner_of
from app.tabs.choices import (
    base_model_note,
    learning_rate_choices,
    learning_rate_value,
    preset_radio,
    resolution_choices,
)
from app.tabs.train_preview import BY_MEMORY, RECOMMENDED, SETTINGS, wishes_of
from app.widgets.message import said
from app.wording import in_words
from backend.contract import BaseModelSpec, DatasetId, TrainingRequest
from backend.errors import InvalidRequest, NotFound
from backend.studio import Studio
from backend.training.presets import Preset, presets_for, recommend, usual

_MOST_PICTURES = 100_000


class Advice:
    """What a base model and a preset come to for a number of pictures."""

    def __init__(
        self, spec: BaseModelSpec, presets: list[Preset], preset_id: str | None, pictures: int, batch_size: int
    ) -> None:
        self.spec = spec
        self.presets = presets_for(spec, presets)
        self.preset = next((each for each in self.presets if each.id == preset_id), next(iter(self.presets), None))
        self._recommended = recommend(self.preset, pictures, batch_size) if self.preset else usual(spec)
        self._pictures = pictures

    @property
    def values(self) -> dict[str, Any]:
        """The settings by field. Alpha is 0 where it follows the rank."""
        values = self.spec.training.model_dump() | self._recommended.model_dump(exclude={"reason"})
        return values | {"alpha": 0 if values["alpha"] == values["rank"] else values["alpha"]}

    @property
    def advised(self) -> tuple[int, int]:
        """The steps and the rank, which follow the number of pictures until somebody chooses others."""
        return self.values["steps"], self.values["rank"]

    @property
    def updates(self) -> list[Any]:
        """Updates for the components of RECOMMENDED."""
        values = self.values
        rate, resolution = values["learning_rate"], values["resolution"]
        shown = {
            "steps": gr.Slider(maximum=most_steps(self.spec), value=values["steps"]),
            "learning_rate": gr.Dropdown(
                choices=learning_rate_choices(self.spec.training.learning_rate), value=learning_rate_value(rate)
            ),
            "resolution": gr.CheckboxGroup(choices=resolution_choices(self.spec, resolution), value=resolution),
        }
        return [shown.get(field, values[field]) for field in RECOMMENDED]

    def reason(self, own_steps: int | None = None) -> str:
        """Why so many steps; `own_steps` are those of somebody who chose them."""
        summary = f"{self.preset.summary} " if self.preset else ""
        recommended = self._recommended.steps
        if own_steps is not None and own_steps != recommended:
            return f"{summary}{own_steps:,} steps are your own choice; {recommended:,} are recommended."
        return summary + (self._recommended.reason if self._pictures else "")


class SetupHandlers:
    """What happens on this side. Every method returns updates for components, as `train_setup.build` wires them."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def advice(
        self, base_model: str, preset_id: str | None = None, pictures: float | None = 0, batch_size: int | None = None
    ) -> Advice:
        """Return what the form begins with, for what is chosen so far."""
        spec = self._studio.base_models[base_model]
        counted = min(max(0, int(pictures or 0)), _MOST_PICTURES)
        return Advice(spec, self._studio.presets, preset_id, counted, int(batch_size or spec.training.batch_size))

    def note(self, spec: BaseModelSpec) -> str:
        """Return what to know of a base model before it is trained, or why it can't be."""
        return base_model_note(spec, self._studio.preflight.obstacle(spec))

    def choose_base_model(self, base_model: str, pictures: int) -> tuple[Any, ...]:
        """Return its note and presets, steps and rank as advised, why so many, its sample prompts, and its settings."""
        advice = self.advice(base_model, None, pictures)
        prompts = "\n".join(advice.spec.sample_prompts)
        note, presets = self.note(advice.spec), preset_radio(advice.presets)
        return note, presets, *advice.advised, advice.reason(), prompts, *advice.updates

    def choose_preset(self, base_model: str, preset: str, pictures: int, batch_size: int) -> tuple[Any, ...]:
        """Return the steps and rank advised, why so many steps, and the preset's settings."""
        advice = self.advice(base_model, preset, pictures, batch_size)
        return *advice.advised, advice.reason(), *advice.updates

    def follow(
        self, base_model: str, preset: str | None, pictures: int, batch_size: int, steps: int, rank: int,
        advised_steps: int, advised_rank: int,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Return steps, rank, why so many steps, and what is advised for as many pictures as there are now.

        Steps and rank that are not what was advised were chosen by somebody, and stay.
        """
        advice = self.advice(base_model, preset, pictures, batch_size)
        now_steps, now_rank = advice.values["steps"], advice.values["rank"]
        own = steps is not None and int(steps) != advised_steps
        # What stays as it is is not sent: somebody may be moving it just now.
        shown_steps = gr.skip() if own or now_steps == steps else now_steps
        shown_rank = gr.skip() if rank != advised_rank or now_rank == rank else now_rank
        return shown_steps, shown_rank, advice.reason(int(steps) if own else None), now_steps, now_rank

    def start(
        self,
        request: gr.Request,
        dataset_id: DatasetId,
        base_model: str,
        lora_name: str,
        trigger_word: str,
        *values: Any,
    ) -> tuple[Any, Any]:
        """Return the run to open, or the sentence that says why there is none. `values` are those of SETTINGS."""
        try:
            owner = owner_of(request)
            if not dataset_id:
                raise InvalidRequest("There are no pictures to train on yet.", "Add some, or try the sample pictures.")
            wishes = wishes_of(values, self._studio.estimates) | {"lora_name": lora_name, "trigger_word": trigger_word}
            run_id = self._studio.training.start(owner, dataset_id_in(dataset_id), base_model, **wishes)
        except Exception as error:
            return gr.skip(), said("train", in_words(error))
        return {"run_id": run_id}, said("train")

    def fill(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Open the dataset of a run and fill the form with what it was started with, to start another like it."""
        try:
            owner, run_id = owner_of(request), run_id_in(event.run_id)
            asked = self._studio.runs.state(owner, run_id).request
            dataset_id = self._studio.training.dataset_of(owner, run_id)
            if not isinstance(asked, TrainingRequest) or asked.base_model_id not in self._studio.base_models:
                raise NotFound("The base model of this training is no longer here.", "Choose another one.")
        except Exception as error:
            return (*[gr.skip()] * (9 + len(SETTINGS)), said("train", in_words(error)))
        advice = self.advice(asked.base_model_id)
        values = asked.settings_for(advice.spec).model_dump() | {
            "sample_prompts": "\n".join(asked.sample_prompts or advice.spec.sample_prompts),
            "max_minutes": asked.max_minutes or 0,
            "max_dollars": 0,
        }
        values |= {field: _switch(values[field]) for field in BY_MEMORY}
        values["alpha"] = asked.alpha or 0
        values["steps"] = gr.Slider(maximum=max(most_steps(advice.spec), values["steps"]), value=values["steps"])
        values["learning_rate"] = learning_rate_value(values["learning_rate"])
        values["resolution"] = gr.CheckboxGroup(
            choices=resolution_choices(advice.spec, values["resolution"]), value=values["resolution"]
        )
        note, presets = self.note(advice.spec), preset_radio(advice.presets)
        reason = advice.reason(asked.settings_for(advice.spec).steps)
        return (
            {"dataset_id": dataset_id}, asked.lora_name, asked.trigger_word, advice.spec.id, note, presets, 0, 0,
            reason, *[values[field] for field in SETTINGS], said("train"),
        )  # fmt: skip


def most_steps(spec: BaseModelSpec) -> int:
    """Return where the slider of steps ends."""
    return spec.training.steps * 5


def _switch(switched: bool | None) -> str:
    return "auto" if switched is None else "on" if switched else "off"
