"""What to put into the Generate form again: a picture of the gallery's, or what a PNG file said of itself."""

from typing import Any, Literal

import gradio as gr
from pydantic import Field, ValidationError

from app.identifiers import image_id_in
from backend.contract import Denoise, LoraUse, Message, Prompt, Seed, StorageKey, explain
from backend.errors import InvalidRequest
from backend.generation.wildcards import literal
from backend.studio import Studio

# Everything; the words or the seed alone; everything but the seed; the picture itself, to start from.
Part = Literal["all", "prompt", "seed", "variations", "img2img"]


class Made(Message):
    """How a picture was made; None is what isn't known."""

    part: Part = "all"
    prompt: Prompt = ""
    prompt_template: Prompt = ""  # as it was written, with its wildcards
    negative_prompt: Prompt = ""
    base_model: str = Field("", max_length=64)
    loras: list[LoraUse] = Field([], max_length=8)
    seed: Seed | None = None
    steps: int | None = Field(None, ge=1, le=150)
    guidance: float | None = Field(None, ge=0, le=30)
    width: int | None = Field(None, ge=64, le=4096)
    height: int | None = Field(None, ge=64, le=4096)
    key: StorageKey | None = None  # of a picture of the gallery's
    thumb_key: StorageKey | None = None
    init_image: StorageKey | None = None  # the picture it was started from
    denoise: Denoise | None = None

    @property
    def words(self) -> str:
        """The prompt to write on with: its wildcards still in it."""
        return self.prompt_template or literal(self.prompt)


def made_in(event: gr.EventData, owner: str, studio: Studio) -> Made:
    """Return what an event asks to reuse: {"image_id", "part"} or {"settings", "part"}. Raises NotFound."""
    part = getattr(event, "part", "all")
    try:
        if settings := getattr(event, "settings", None):
            # A file's settings come by way of the page: where a picture lies is believed of our own record alone.
            return Made.model_validate(settings | {"part": part, "key": None, "thumb_key": None})
        known: set[str] = set(Made.model_fields)
        record: dict[str, Any] = studio.gallery.open(owner, image_id_in(event.image_id)).model_dump(include=known)
        return Made.model_validate(record | {"part": part})
    except (ValidationError, TypeError) as error:
        words = explain(error) if isinstance(error, ValidationError) else "This request can't be read."
        raise InvalidRequest(words, "Reload the page.") from error
