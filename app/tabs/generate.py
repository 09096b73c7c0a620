"""The Generate tab: prompt, LoRAs and settings on one side, what comes of them on the other."""

from typing import Any, NamedTuple

import gradio as gr

from app.session import owner_of
from app.tabs.choices import QUICK, base_model_dropdown, size_choices, with_size
from app.tabs.reuse import made_in
from app.widgets.image_feed import image_feed
from app.widgets.lora_picker import lora_picker
from app.widgets.message import message, said
from app.wording import in_words
from backend.contract import BaseModelSpec, LoraUse
from backend.errors import InvalidRequest
from backend.studio import Studio

_WISHES = frozenset({"prompt", "loras", "width", "height", "count", "seed", "steps", "guidance"})
# What is on the form goes to the feed's script, which shows the press at once and then calls the server.
_PRESS = """(prompt, picked, base_model, size, count, seed, steps, guidance) => {
  const [width, height] = size.split('x').map(Number);
  const loras = (picked?.loras || []).map(({ key, strength }) => ({ key, strength }));
  seed = String(seed ?? '').trim();
  atelier.generate({ prompt, base_model, loras, width, height, count, seed, steps, guidance });
}"""


class GenerateTab(NamedTuple):
    """The components other parts of the page are wired to."""

    form: list[Any]  # prompt, base model, picker, size, count, seed, steps, guidance, message
    handlers: "GenerateHandlers"


class GenerateHandlers:
    """What happens on the tab. Those that fill the form return updates in the order of `GenerateTab.form`."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def start(self, wishes: Any, request: gr.Request) -> dict[str, str]:
        """Start a run with what the form holds; answer with its id, or with what is wrong."""
        try:
            owner = owner_of(request)
            if not isinstance(wishes, dict) or not isinstance(wishes.get("base_model"), str):
                raise InvalidRequest("This request can't be read.", "Reload the page.")
            known = {name: value for name, value in wishes.items() if name in _WISHES and value != ""}
            return {"run_id": self._studio.generation.start(owner, wishes["base_model"], **known)}
        except Exception as error:
            return {"error": in_words(error)}

    def choose_base_model(self, base_model: str, picked: dict[str, Any] | None) -> tuple[Any, ...]:
        """Return its sizes, steps and guidance, and the picker told what fits."""
        spec = self._studio.base_models[base_model]
        size, steps, guidance = _usual(spec)
        return picker_value(spec, (picked or {}).get("loras", [])), size, steps, guidance

    def prompt_lora(self, event: gr.EventData, prompt: str) -> tuple[Any, ...]:
        """Fill the form to prompt with a LoRA or checkpoint that somebody pressed the button of."""
        # A run may be of a base model that is gone; its LoRA still shows, with the first one that there is.
        wanted = str(event.base_model)
        spec = self._studio.base_models.get(wanted) or self._studio.base_models[self._studio.default_base_model]
        size, steps, guidance = _usual(spec)
        picked = picker_value(spec, [{"key": str(event.key), "strength": 1}])
        return (
            prompt or str(event.trigger_word), spec.id, picked, size, gr.skip(), gr.skip(), steps, guidance,
            said("generate"),
        )  # fmt: skip

    def reuse(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Fill the form with what made a picture, or a part of that."""
        try:
            made = made_in(event, owner_of(request), self._studio)
            spec = self._studio.base_models.get(made.base_model)
            if spec is None and made.part in ("all", "variations") and not hasattr(event, "settings"):
                raise InvalidRequest(f"The base model '{made.base_model}' is not here any more.")
        except Exception as error:
            return (*[gr.skip()] * 8, said("generate", in_words(error)))
        keep = gr.skip()
        seed = keep if made.seed is None else str(made.seed)
        if made.part == "prompt":
            return (made.prompt, *[keep] * 7, said("generate"))
        if made.part == "seed":
            return (*[keep] * 5, seed, keep, keep, said("generate"))
        if made.part == "variations":
            seed = ""
        picked = size = keep
        if spec:
            picked = picker_value(spec, [use.model_dump() for use in made.loras])
            if made.width and made.height:
                choices = with_size(size_choices(spec.sizes), made.width, made.height)
                size = gr.Radio(choices=choices, value=f"{made.width}x{made.height}")
        return (
            made.prompt or keep, spec.id if spec else keep, picked, size, 4 if made.part == "variations" else 1, seed,
            made.steps or keep, keep if made.guidance is None else made.guidance, said("generate"),
        )  # fmt: skip


def build(studio: Studio) -> GenerateTab:
    """Build the tab."""
    handlers = GenerateHandlers(studio)
    spec = studio.base_models[studio.default_base_model]

    def start(wishes: Any, request: gr.Request) -> dict[str, str]:
        return handlers.start(wishes, request)

    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes="rail", elem_id="generate-form"):
            prompt = gr.Textbox(
                label="Prompt",
                lines=3,
                max_lines=10,
                placeholder="What do you want to see? Ctrl or ⌘ + Enter generates.",
                elem_id="prompt",
            )
            picker = lora_picker(picker_value(spec, []))
            with gr.Group():
                base_model = base_model_dropdown(studio.base_models.values(), spec.id)
                size = gr.Radio(
                    size_choices(spec.sizes),
                    value=_size_value(spec),
                    label="Shape",
                    elem_classes="chips",
                )
            with gr.Group(), gr.Row():
                count = gr.Slider(1, 8, 4, step=1, label="Pictures", buttons=[], min_width=140, interactive=True)
                seed = gr.Textbox(label="Seed", placeholder="New each time", max_lines=1, min_width=140)
            with gr.Accordion("Advanced", open=False):
                steps = gr.Slider(1, 60, spec.generation.steps, step=1, label="Steps", buttons=[], interactive=True)
                guidance = gr.Slider(
                    0, 10, spec.generation.guidance, step=0.1, label="Guidance", buttons=[], interactive=True
                )
            with gr.Column(elem_id="generate-bar", elem_classes="rail-bar"):
                sentence = message("generate")
                press = gr.Button("Generate", variant="primary", size="lg", elem_id="generate")
        with gr.Column(scale=7, min_width=320):
            image_feed(start)

    press.click(None, [prompt, picker, base_model, size, count, seed, steps, guidance], None, js=_PRESS, **QUICK)
    base_model.input(handlers.choose_base_model, [base_model, picker], [picker, size, steps, guidance], **QUICK)
    return GenerateTab([prompt, base_model, picker, size, count, seed, steps, guidance, sentence], handlers)


def picker_value(spec: BaseModelSpec, uses: list[Any]) -> dict[str, Any]:
    """Return what the LoRA picker shows: these LoRAs chosen, and others by whether they fit this base model."""
    chosen = [LoraUse.model_validate(use).model_dump() for use in uses]
    return {"loras": chosen, "architecture": spec.architecture, "base_model": spec.name}


def _usual(spec: BaseModelSpec) -> tuple[Any, int, float]:
    size = gr.Radio(choices=size_choices(spec.sizes), value=_size_value(spec))
    return size, spec.generation.steps, spec.generation.guidance


def _size_value(spec: BaseModelSpec) -> str:
    return f"{spec.generation.width}x{spec.generation.height}"
