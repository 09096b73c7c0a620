"""The set-up side of the Train tab: base model and settings, and the button that starts."""

from typing import Any, NamedTuple

import gradio as gr

from app.identifiers import dataset_id_in
from app.session import owner_of
from app.tabs.choices import QUICK, base_model_dropdown, base_model_note, learning_rate_choices, learning_rate_value
from app.widgets.message import message, said
from app.wording import in_words
from backend.contract import DatasetId
from backend.errors import InvalidRequest
from backend.studio import Studio


class SetupPanel(NamedTuple):
    """The components of this side, and what happens on it."""

    name: Any
    trigger: Any
    base_model: Any
    settings: list[Any]  # as `SetupHandlers.start` takes them
    start: Any
    message: Any
    handlers: "SetupHandlers"


def build(studio: Studio) -> SetupPanel:
    """Build the panel into the column around it."""
    handlers = SetupHandlers(studio)
    spec = studio.base_models[studio.default_base_model]
    with gr.Group():
        name = gr.Textbox(label="Name", placeholder="What the LoRA is called", max_lines=1)
        trigger = gr.Textbox(
            label="Trigger word", placeholder="zorbot", info="Calls what was learnt, in a prompt.", max_lines=1
        )
    with gr.Group():
        base_model = base_model_dropdown(studio.base_models.values(), spec.id)
        note = gr.Markdown(base_model_note(spec), elem_classes="note")
    with gr.Group():
        steps = gr.Slider(20, 6000, spec.training.steps, step=10, label="Steps", buttons=[], interactive=True)
        rank = gr.Slider(1, 128, spec.training.rank, step=1, label="Rank", buttons=[], interactive=True)
        learning_rate = gr.Dropdown(
            learning_rate_choices(spec.training.learning_rate),
            value=learning_rate_value(spec.training.learning_rate),
            label="Learning rate",
            allow_custom_value=True,
            interactive=True,
        )
    with gr.Accordion("Advanced", open=False):
        resolution = gr.Textbox(
            ", ".join(map(str, spec.training.resolution)), label="Resolution", info="Pixels, comma between."
        )
        with gr.Row():
            batch_size = gr.Number(spec.training.batch_size, label="Batch size", precision=0, min_width=110)
            save_every = gr.Number(spec.training.save_every, label="Save every", precision=0, min_width=110)
        prior = gr.Checkbox(
            spec.training.prior_preservation,
            label="Prior preservation",
            info="Keeps the base model good at everything else.",
        )
        seed = gr.Number(spec.training.seed, label="Seed", precision=0)
    with gr.Column(elem_classes="rail-bar"):
        sentence = message("train")
        start = gr.Button("Start training", variant="primary", size="lg", elem_id="start")
    usual = [steps, rank, learning_rate, resolution, batch_size, save_every, prior]
    base_model.input(handlers.choose_base_model, base_model, [note, *usual], **QUICK)
    return SetupPanel(name, trigger, base_model, [*usual, seed], start, sentence, handlers)


class SetupHandlers:
    """What happens on this side. Every method returns updates for the components named in `build`."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def choose_base_model(self, base_model: str) -> tuple[Any, ...]:
        spec = self._studio.base_models[base_model]
        usual = spec.training
        return (
            base_model_note(spec),
            usual.steps,
            usual.rank,
            gr.Dropdown(
                choices=learning_rate_choices(usual.learning_rate), value=learning_rate_value(usual.learning_rate)
            ),
            ", ".join(str(side) for side in usual.resolution),
            usual.batch_size,
            usual.save_every,
            usual.prior_preservation,
        )

    def start(
        self,
        dataset_id: DatasetId,
        base_model: str,
        lora_name: str,
        trigger_word: str,
        steps: int,
        rank: int,
        learning_rate: str,
        resolution: str,
        batch_size: int,
        save_every: int,
        prior_preservation: bool,
        seed: int,
        request: gr.Request,
    ) -> tuple[Any, Any]:
        """Return the run to open, or the sentence that says why there is none."""
        try:
            owner = owner_of(request)
            if not dataset_id:
                raise InvalidRequest("There are no pictures to train on yet.", "Add some, or take the sample pictures.")
            run_id = self._studio.training.start(
                owner,
                dataset_id_in(dataset_id),
                base_model,
                lora_name=lora_name,
                trigger_word=trigger_word,
                steps=steps,
                rank=rank,
                learning_rate=learning_rate,
                resolution=[side.strip() for side in resolution.split(",")],
                batch_size=batch_size,
                save_every=save_every,
                prior_preservation=prior_preservation,
                seed=seed,
            )
        except Exception as error:
            return gr.skip(), said("train", in_words(error))
        return {"run_id": run_id}, said("train")
