"""What the screen's own requests are answered with: small models, made from what the studio knows."""

import hashlib
from collections.abc import Iterable
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict

from backend.contract import BaseModelSpec, GenerationRequest, TrainingRequest, file_stem
from backend.media import Media
from backend.runs.state import RunState


class View(BaseModel):
    """An answer to the page. Seeds are text in it: JavaScript can't hold 64 bits."""

    model_config = ConfigDict(frozen=True)


class Problem(View):
    message: str
    hint: str


class PictureView(View):
    image_id: str
    thumb: str
    url: str
    download: str
    width: int
    height: int
    seed: str
    prompt: str


class Views:
    """Makes answers: knows the addresses of objects and the names of base models."""

    def __init__(self, media: Media, base_models: dict[str, BaseModelSpec]) -> None:
        self._media = media
        self._base_models = base_models

    def _spec(self, request: TrainingRequest | GenerationRequest) -> BaseModelSpec | None:
        """The base model as the run knew it; None when only its id travelled and it is gone."""
        if isinstance(request.base_model, str):
            return self._base_models.get(request.base_model)
        return request.base_model

    def _base_model_name(self, base_model_id: str) -> str:
        return self._base_models[base_model_id].name if base_model_id in self._base_models else base_model_id

    def _picture(self, key: str, thumb_key: str, prompt: str) -> dict[str, str]:
        image_id = PurePosixPath(key).stem
        name = f"{file_stem(prompt)[:48].strip('-')}-{image_id[-10:]}{PurePosixPath(key).suffix}"
        return {
            "image_id": image_id,
            "thumb": self._media.url("outputs", thumb_key),
            "url": self._media.url("outputs", key),
            "download": self._media.url("outputs", key, download_as=name),
        }


def problem_of(state: RunState) -> Problem | None:
    """Return why a run failed."""
    return Problem(message=state.failure.message, hint=state.failure.hint) if state.failure else None


def lora_file_name(key: str) -> str:
    """Return what to call a LoRA by its file, which for a checkpoint says the step."""
    stem = PurePosixPath(key).stem
    name, _, step = stem.rpartition("_")
    return f"{name} step {int(step):,}" if key.startswith("runs/") and step.isdigit() else stem


def version_of_run(state: RunState) -> str:
    """Return a mark that changes whenever a run says something new."""
    seq = state.progress.seq if state.progress else 0
    return f"{state.request.attempt}.{state.status}.{seq}{'.unsure' if state.unsure else ''}"


def version_of(versions: Iterable[str]) -> str:
    """Return one mark for several."""
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:16]
