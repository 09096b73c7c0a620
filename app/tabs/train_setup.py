"""The set-up side of the Train tab: base model, preset and settings, what they will take, and the start button."""

from typing import Any, NamedTuple

import gradio as gr

from app.tabs.choices import (
    QUICK,
    base_model_dropdown,
    learning_rate_choices,
    learning_rate_value,
    preset_radio,
    resolution_choices,
)
from app.tabs.train_plan import SetupHandlers, most_steps
from app.tabs.train_preview import RECOMMENDED, SETTINGS, PreviewHandlers
from app.widgets.message import message
from backend.studio import Studio

_SWITCH = [("Automatic, by GPU memory", "auto"), ("On", "on"), ("Off", "off")]
_BY_MEMORY = {
    "ema": "EMA (average of recent weights)",
    "low_vram": "Low VRAM",
    "quantize": "Quantise the base model to 8 bits",
    "cache_text_embeddings": "Encode captions once",
}
_CONFIG_NOTE = "For a GPU with 24 GB. On others only the settings that save memory differ."


class SetupPanel(NamedTuple):
    """The components of this side, and what happens on it."""

    name: Any
    trigger: Any
    base_model: Any
    resolution: Any
    pictures: Any  # how many the chosen dataset has
    start: Any
    settled: list[Any]  # the events after which several fields have changed, and are at one again
    look_ahead: dict[str, Any]  # an event's arguments, to say anew what the training will take
    show_config: dict[str, Any]  # and those to show anew what ai-toolkit is told
    start_inputs: list[Any]  # as `SetupHandlers.start` takes them, behind the dataset
    message: Any
    form: list[Any]  # what `SetupHandlers.fill` fills
    handlers: SetupHandlers


def build(studio: Studio) -> SetupPanel:
    """Build the panel into the column around it."""
    handlers = SetupHandlers(studio)
    spec = studio.base_models[studio.default_base_model]
    first = handlers.advice(spec.id)
    is_paid = studio.estimates.gpu_price is not None
    values = first.values
    pictures = gr.Number(0, precision=0, visible=False)
    advised = [gr.Number(number, precision=0, visible=False) for number in first.advised]  # steps and rank
    with gr.Group():
        name = gr.Textbox(label="Name", placeholder="What to call the LoRA", max_lines=1, elem_id="lora-name")
        trigger = gr.Textbox(
            label="Trigger word",
            placeholder="zorbot",
            info="A made-up word. In a prompt, it brings up what was learnt.",
            max_lines=1,
            elem_id="trigger-word",
        )
    with gr.Group():
        base_model = base_model_dropdown(studio.base_models.values(), spec.id)
        note = gr.Markdown(handlers.note(spec), elem_classes="note")
        preset = preset_radio(first.presets)
    with gr.Group():
        steps = gr.Slider(10, most_steps(spec), values["steps"], step=10, label="Steps", buttons=[], interactive=True)
        reason = gr.Markdown(first.reason(), elem_classes="note", elem_id="steps-reason")
        rank = gr.Slider(1, 128, values["rank"], step=1, label="Rank", buttons=[], interactive=True)
        learning_rate = gr.Dropdown(
            learning_rate_choices(spec.training.learning_rate),
            value=learning_rate_value(values["learning_rate"]),
            label="Learning rate",
            allow_custom_value=True,
            interactive=True,
        )
        resolution = gr.CheckboxGroup(
            resolution_choices(spec, values["resolution"]),
            value=values["resolution"],
            label="Resolution",
            elem_classes="chips",
        )
        batch_size = gr.Slider(1, 16, values["batch_size"], step=1, label="Batch", buttons=[], interactive=True)
    with gr.Accordion("Sample prompts", open=False):
        sample_prompts = gr.Textbox(
            "\n".join(spec.sample_prompts),
            label="Drawn before training and at every checkpoint",
            info="One per line, at most 8. [trigger] stands for the trigger word.",
            lines=3,
            max_lines=8,
            elem_id="sample-prompts",
        )
    with gr.Accordion("Limits", open=False):
        max_minutes = gr.Number(
            0, label="Stop after", info="Minutes. The last step is kept. 0 means no limit.", minimum=0
        )
        max_dollars = gr.Number(
            0, label="Stop at", info="Dollars, at the GPU's hourly price. 0 means no limit.", minimum=0, visible=is_paid
        )
    with gr.Accordion("Advanced", open=False):
        advanced = _advanced(values, on_gpu=is_paid)
        with gr.Accordion("ai-toolkit config", open=False) as config_shown:
            config = gr.Textbox(
                info=_CONFIG_NOTE if is_paid else f"{_CONFIG_NOTE} This computer trains with the same settings itself.",
                label="What ai-toolkit will run",
                lines=12,
                max_lines=24,
                interactive=False,
                buttons=["copy"],
                elem_id="toolkit-config",
            )
    with gr.Column(elem_classes="rail-bar"):
        forecast = gr.Markdown("", elem_id="forecast")
        sentence = message("train")
        start = gr.Button("Start training", variant="primary", size="lg", elem_id="start")
    fields = {
        "steps": steps, "rank": rank, "learning_rate": learning_rate, "resolution": resolution,
        "batch_size": batch_size, "sample_prompts": sample_prompts, "max_minutes": max_minutes,
        "max_dollars": max_dollars, **advanced,
    }  # fmt: skip
    settings = [fields[field] for field in SETTINGS]
    recommended = [fields[field] for field in RECOMMENDED]

    chosen = [base_model, preset, pictures, batch_size]
    base_model_chosen = base_model.input(
        handlers.choose_base_model,
        [base_model, pictures],
        [note, preset, *advised, reason, sample_prompts, *recommended],
        **QUICK,
    )
    preset_chosen = preset.input(handlers.choose_preset, chosen, [*advised, reason, *recommended], **QUICK)
    followed = gr.on(
        [pictures.change, batch_size.input, steps.input],
        handlers.follow,
        [*chosen, steps, rank, *advised],
        [steps, rank, reason, *advised],
        trigger_mode="always_last",
        **QUICK,
    )
    preview = PreviewHandlers(studio)
    look_ahead = {"fn": preview.forecast, "inputs": [base_model, *settings], "outputs": forecast, **QUICK}
    show_config = {
        "fn": preview.config, "inputs": [base_model, name, trigger, *settings], "outputs": config, **QUICK,
    }  # fmt: skip
    gr.on([resolution.input, fields["prior_preservation"].input], trigger_mode="always_last", **look_ahead)
    edited = [config_shown.expand, name.change, trigger.change, *(field.input for field in settings)]
    gr.on(edited, trigger_mode="always_last", **show_config)
    settled = [base_model_chosen, preset_chosen, followed]
    form = [name, trigger, base_model, note, preset, *advised, reason, *settings, sentence]
    start_inputs = [base_model, name, trigger, *settings]
    return SetupPanel(
        name, trigger, base_model, resolution, pictures, start, settled, look_ahead, show_config, start_inputs,
        sentence, form, handlers,
    )  # fmt: skip


def _advanced(values: dict[str, Any], *, on_gpu: bool) -> dict[str, Any]:
    with gr.Row():
        alpha = gr.Number(
            values["alpha"], label="Alpha", info="0: same as rank.", precision=0, min_width=110, minimum=0, maximum=256
        )
        save_every = gr.Number(
            values["save_every"], label="Save every", info="Steps.", precision=0, min_width=110, minimum=1
        )
    caption_dropout = gr.Slider(
        0,
        1,
        values["caption_dropout"],
        step=0.01,
        label="Caption dropout",
        info="Share of the pictures shown without their caption.",
        buttons=[],
        interactive=True,
    )
    prior_preservation = gr.Checkbox(
        values["prior_preservation"], label="Prior preservation", info="Keeps the base model good at everything else."
    )
    seed = gr.Number(values["seed"], label="Seed", precision=0, minimum=0)
    memory = {
        field: gr.Dropdown(_SWITCH, value="auto", label=label, interactive=True, filterable=False, visible=on_gpu)
        for field, label in _BY_MEMORY.items()
    }
    return {
        "alpha": alpha, "save_every": save_every, "caption_dropout": caption_dropout,
        "prior_preservation": prior_preservation, "seed": seed, **memory,
    }  # fmt: skip
