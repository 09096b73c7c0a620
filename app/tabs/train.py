"""The Train tab: choose or upload pictures, caption them, set a training up and start it."""

from typing import Any, NamedTuple

import gradio as gr

from app.tabs.choices import QUICK, base_model_dropdown, base_model_note, learning_rate_choices, learning_rate_value
from app.tabs.train_handlers import TrainHandlers
from app.widgets.caption_grid import caption_grid
from app.widgets.dropzone import dropzone
from app.widgets.message import message
from backend.studio import Studio


class TrainTab(NamedTuple):
    """The components other parts of the page are wired to."""

    start: Any
    start_inputs: list[Any]
    message: Any
    handlers: TrainHandlers


def build(studio: Studio, page: gr.Blocks) -> TrainTab:
    """Build the tab into the page."""
    handlers = TrainHandlers(studio)
    spec = studio.base_models[studio.default_base_model]

    def save_captions(payload: Any, request: gr.Request) -> dict[str, str]:
        return handlers.save_captions(payload, request)

    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            datasets = gr.Dropdown(
                [], label="Dataset", visible=False, interactive=True, filterable=False, elem_id="dataset"
            )
            # What is chosen, apart from the list: a restarted server has not listed anything to this page yet.
            dataset = gr.Textbox("", visible=False)
            zone = dropzone(handlers.zone())
            files = gr.File(
                label="Files", file_count="multiple", elem_id="files", elem_classes="away", interactive=True
            )
            grid = caption_grid(save_captions)
        with gr.Column(scale=3, min_width=320, elem_classes="rail"):
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

    page.load(handlers.list_datasets, dataset, [datasets, dataset], **QUICK).then(
        handlers.choose, dataset, [grid, zone], **QUICK
    )
    datasets.input(None, datasets, dataset, js="chosen => chosen ?? ''", **QUICK).then(
        handlers.choose, dataset, [grid, zone], **QUICK
    )
    taken = [
        zone.sample(handlers.sample, None, [grid, zone, dataset, name, trigger], **QUICK),
        files.upload(handlers.upload, [files, dataset], [grid, zone, dataset, files], **QUICK),
    ]
    for intake in taken:
        intake.then(handlers.list_datasets, dataset, [datasets, dataset], **QUICK)
    settings = [steps, rank, learning_rate, resolution, batch_size, save_every, prior]
    base_model.input(handlers.choose_base_model, base_model, [note, *settings], **QUICK)
    return TrainTab(start, [dataset, base_model, name, trigger, *settings, seed], sentence, handlers)
