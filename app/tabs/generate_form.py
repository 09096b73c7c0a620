"""What is on the Generate form: the names of its fields, what fills them in, and what is sent when it is pressed."""

from typing import Any

import gradio as gr

from app.session import owner_of
from app.tabs.reuse import Made, made_in
from app.widgets.message import said
from app.widgets.prompt_tools import styles_value
from app.widgets.shape_picker import shape_value
from app.widgets.start_picture import DENOISE, start_value
from app.wording import in_words
from backend.contract import BaseModelSpec, LoraUse
from backend.errors import AtelierError, InvalidRequest
from backend.generation.wildcards import literal
from backend.studio import Studio

# The fields that handlers fill in, in the order they return them.
FIELDS = (
    "prompt", "styles", "negative_prompt", "base_model", "picker", "start", "size", "count", "seed", "steps",
    "guidance", "message",
)  # fmt: skip
# What the sliders go to, unless a picture was made with more.
MOST_STEPS, MOST_GUIDANCE = 60, 10
_WISHES = frozenset(
    {
        "prompt", "negative_prompt", "loras", "width", "height", "count", "seed", "steps", "guidance", "init_image",
        "denoise", "output_format", "output_quality",
    }
)  # fmt: skip


class GenerateHandlers:
    """What happens on the form. Those that fill it return an update for each of FIELDS."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def start(self, wishes: Any, request: gr.Request) -> dict[str, str]:
        """Start a run with what the form holds; answer with its id, or with what is wrong."""
        try:
            owner = owner_of(request)
            if not isinstance(wishes, dict) or not isinstance(wishes.get("base_model"), str):
                raise InvalidRequest("This request can't be read.", "Reload the page.")
            known = {name: value for name, value in wishes.items() if name in _WISHES and value != ""}
            spec = self._studio.base_models.get(wishes["base_model"])
            if spec and not spec.negative_prompt:
                known.pop("negative_prompt", None)  # its field is hidden
            known["styles"] = _names(wishes.get("styles", []))
            return {"run_id": self._studio.generation.start(owner, wishes["base_model"], **known)}
        except Exception as error:
            return {"error": in_words(error)}

    def choose_base_model(self, base_model: str, picked: dict[str, Any] | None) -> tuple[Any, ...]:
        """Fill in what differs from one base model to another, and tell the picker what fits."""
        spec = self._studio.base_models[base_model]
        return filled(picker=picker_value(spec, (picked or {}).get("loras", [])), **_usual(spec))

    def prompt_lora(self, event: gr.EventData, prompt: str) -> tuple[Any, ...]:
        """Fill the form to prompt with a LoRA or checkpoint that somebody pressed the button of."""
        # A run may be of a base model that is gone; its LoRA still shows, with the first one that there is.
        wanted = str(event.base_model)
        spec = self._studio.base_models.get(wanted) or self._studio.base_models[self._studio.default_base_model]
        return filled(
            prompt=prompt or str(event.trigger_word),
            base_model=spec.id,
            picker=picker_value(spec, [{"key": str(event.key), "strength": 1}]),
            message=said("generate"),
            **_usual(spec),
        )

    def reuse(self, event: gr.EventData, request: gr.Request, prompt: str, base_model: str) -> tuple[Any, ...]:
        """Fill the form, which holds `prompt` and `base_model`, with what made a picture, or a part of that."""
        try:
            owner = owner_of(request)
            made = made_in(event, owner, self._studio)
            match made.part:
                case "prompt":
                    return filled(prompt=made.words, styles=styles_value(), message=said("generate"))
                case "seed":
                    return filled(seed=_text(made.seed), message=said("generate"))
                case "img2img":
                    return self._start_from(made, prompt, self._studio.base_models[base_model])
            return self._make_again(made, owner, hasattr(event, "settings"))
        except Exception as error:
            return filled(message=said("generate", in_words(error)))

    def _start_from(self, made: Made, prompt: str, spec: BaseModelSpec) -> tuple[Any, ...]:
        """Start from the picture, with the words that are there; its own if there are none."""
        if not made.key or not made.width or not made.height:
            raise InvalidRequest("This picture isn't in the gallery.", "Open one there.")
        url = self._studio.media.url("outputs", made.thumb_key or made.key)
        return filled(
            prompt=prompt or made.words,
            start=start_value(made.key, url, made.width, made.height),
            size=_size_like(spec, made.width, made.height),
            message=said("generate"),
        )

    def _make_again(self, made: Made, owner: str, from_file: bool) -> tuple[Any, ...]:
        spec = self._studio.base_models.get(made.base_model)
        if spec is None and not from_file:
            raise InvalidRequest(f"The base model '{made.base_model}' is no longer here.")
        fields: dict[str, Any] = {
            "prompt": (made.words if made.part == "variations" else literal(made.prompt)) or gr.skip(),
            "styles": styles_value(),
            "seed": "" if made.part == "variations" else _text(made.seed),
            "count": 4 if made.part == "variations" else 1,
            "steps": gr.Slider(value=made.steps, maximum=max(MOST_STEPS, made.steps)) if made.steps else gr.skip(),
            "guidance": gr.skip() if made.guidance is None else _guidance(made.guidance),
        }
        if spec:
            fields |= {"base_model": spec.id, "picker": picker_value(spec, [use.model_dump() for use in made.loras])}
            fields["negative_prompt"] = gr.Textbox(literal(made.negative_prompt), visible=spec.negative_prompt)
            if made.width and made.height:
                fields["size"] = shape_value(spec, made.width, made.height)
        fields["start"], problem = self._started_from(made, owner)
        return filled(**fields, message=said("generate", problem))

    def _started_from(self, made: Made, owner: str) -> tuple[dict[str, Any], str]:
        """Return the slot with the picture that one was started from, or empty with the reason."""
        if not made.init_image:
            return start_value(), ""
        try:
            self._studio.start_pictures.check(owner, made.init_image)
        except AtelierError as error:
            return start_value(), in_words(error)
        url = self._studio.media.url("outputs", made.init_image)
        return start_value(made.init_image, url, denoise=made.denoise or DENOISE), ""


def filled(**fields: Any) -> tuple[Any, ...]:
    """Return an update for each of FIELDS; what isn't named stays."""
    return tuple(fields.get(name, gr.skip()) for name in FIELDS)


def picker_value(spec: BaseModelSpec, uses: list[Any]) -> dict[str, Any]:
    """Return what the LoRA picker shows: these LoRAs chosen, and others by whether they fit this base model."""
    chosen = [LoraUse.model_validate(use).model_dump() for use in uses]
    return {"loras": chosen, "architecture": spec.architecture, "base_model": spec.name}


def _usual(spec: BaseModelSpec) -> dict[str, Any]:
    return {
        "negative_prompt": gr.Textbox(visible=spec.negative_prompt),
        "size": shape_value(spec),
        "steps": spec.generation.steps,
        "guidance": spec.generation.guidance,
    }


def _size_like(spec: BaseModelSpec, width: int, height: int) -> dict[str, Any]:
    """Return the size of a picture to start from, or where the base model doesn't draw it, the shape most like it."""
    if width * height <= spec.max_pixels and width % spec.size_multiple == height % spec.size_multiple == 0:
        return shape_value(spec, width, height)
    nearest = min(spec.sizes, key=lambda size: abs(size.width / size.height - width / height))
    return shape_value(spec, nearest.width, nearest.height)


def _guidance(guidance: float) -> Any:
    return gr.Slider(value=guidance, maximum=max(MOST_GUIDANCE, guidance))


def _names(styles: Any) -> list[str]:
    if isinstance(styles, list) and all(isinstance(name, str) for name in styles):
        return styles
    raise InvalidRequest("The styles can't be read.", "Reload the page.")


def _text(seed: int | None) -> Any:
    return gr.skip() if seed is None else str(seed)
