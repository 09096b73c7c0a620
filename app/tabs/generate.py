"""The Generate tab: prompt, LoRAs and settings on one side, what comes of them on the other."""

from typing import Any, NamedTuple

import gradio as gr

from app.tabs.choices import QUICK, base_model_dropdown
from app.tabs.generate_form import FIELDS, MOST_GUIDANCE, MOST_STEPS, GenerateHandlers, picker_value
from app.widgets.image_feed import image_feed
from app.widgets.lora_picker import lora_picker
from app.widgets.message import message
from app.widgets.prompt_tools import prompt_tools
from app.widgets.seed_field import seed_field
from app.widgets.shape_picker import shape_picker
from app.widgets.start_picture import start_picture
from backend.contract import BaseModelSpec
from backend.studio import Studio

_FORMATS = [("PNG", "png"), ("JPEG", "jpeg"), ("WebP", "webp")]
# Shows the press at once and then calls the server.
_PRESS = """(...values) => {
  const names = NAMES, form = Object.fromEntries(names.map((name, index) => [name, values[index]]));
  const { prompt, negative_prompt, base_model, count, steps, guidance, output_format, output_quality } = form;
  const { width, height } = form.size;
  const loras = (form.picker?.loras || []).map(({ key, strength }) => ({ key, strength }));
  const seed = String(form.seed ?? '').trim(), start = form.start;
  if (start?.pending) { atelier.say('generate', 'The start picture is still uploading.'); return; }
  const styles = form.styles?.styles || [], from = start?.key ? { init_image: start.key, denoise: start.denoise } : {};
  atelier.generate({ prompt, negative_prompt, base_model, loras, width, height, count, seed, steps, guidance,
    output_format, output_quality, styles, ...from });
}"""


class GenerateTab(NamedTuple):
    """The components other parts of the page are wired to."""

    form: list[Any]  # a component for each of FIELDS
    handlers: GenerateHandlers

    def field(self, name: str) -> Any:
        """Return a field's component."""
        return self.form[FIELDS.index(name)]


def build(studio: Studio) -> GenerateTab:
    """Build the tab."""
    handlers = GenerateHandlers(studio)
    spec = studio.base_models[studio.default_base_model]

    def start(wishes: Any, request: gr.Request) -> dict[str, str]:
        return handlers.start(wishes, request)

    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes="rail", elem_id="generate-form"):
            fields = _words(spec)
            fields["picker"] = lora_picker(picker_value(spec, []))
            fields |= _frame(studio, spec)
            fields["start"] = start_picture()
            fields |= _advanced(spec)
            with gr.Column(elem_id="generate-bar", elem_classes="rail-bar"):
                fields["message"] = message("generate")
                with gr.Row():
                    fields["count"] = gr.Number(
                        4, label="Pictures", precision=0, minimum=1, maximum=8, min_width=0, interactive=True,
                        elem_id="count",
                    )  # fmt: skip
                    press = gr.Button("Generate", variant="primary", size="lg", min_width=0, elem_id="generate")
        with gr.Column(scale=7, min_width=320):
            image_feed(start)

    names = [name for name in fields if name != "message"]
    script = _PRESS.replace("NAMES", str(names))
    press.click(None, [fields[name] for name in names], None, js=script, **QUICK)
    tab = GenerateTab([fields[name] for name in FIELDS], handlers)
    fields["base_model"].input(handlers.choose_base_model, [fields["base_model"], fields["picker"]], tab.form, **QUICK)
    return tab


def _words(spec: BaseModelSpec) -> dict[str, Any]:
    prompt = gr.Textbox(
        label="Prompt",
        lines=3,
        max_lines=10,
        placeholder="What do you want to see? Ctrl or ⌘ + Enter generates.",
        elem_id="prompt",
    )
    styles = prompt_tools()
    negative_prompt = gr.Textbox(
        label="Negative prompt",
        lines=1,
        max_lines=4,
        placeholder="What to leave out",
        visible=spec.negative_prompt,
        elem_id="negative-prompt",
        interactive=True,
    )
    return {"prompt": prompt, "styles": styles, "negative_prompt": negative_prompt}


def _frame(studio: Studio, spec: BaseModelSpec) -> dict[str, Any]:
    with gr.Group():
        size = shape_picker(spec)
        seed = seed_field()
    with gr.Group():
        base_model = base_model_dropdown(studio.base_models.values(), spec.id)
    return {"base_model": base_model, "size": size, "seed": seed}


def _advanced(spec: BaseModelSpec) -> dict[str, Any]:
    usual = spec.generation
    with gr.Accordion("Advanced", open=False):
        steps = gr.Slider(1, MOST_STEPS, usual.steps, step=1, label="Steps", buttons=[], interactive=True)
        guidance = gr.Slider(0, MOST_GUIDANCE, usual.guidance, step=0.1, label="Guidance", buttons=[], interactive=True)
        output_format = gr.Radio(
            _FORMATS,
            value="png",
            label="File",
            info="PNG is lossless and carries the ComfyUI workflow. The others are smaller.",
            elem_classes="chips",
            interactive=True,
        )
        quality = gr.Slider(
            1, 100, 92, step=1, label="Quality", buttons=[], visible=False, interactive=True, elem_id="output-quality"
        )
    output_format.change(lambda chosen: gr.Slider(visible=chosen != "png"), output_format, quality, **QUICK)
    return {"steps": steps, "guidance": guidance, "output_format": output_format, "output_quality": quality}
