"""What a LoRA file says about itself: ModelSpec and sd-scripts metadata in the header, read by others' tools."""

import base64
import hashlib
import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from backend.contract import BaseModelSpec, TrainingRequest, TrainingSettings
from backend.lora_files import read_header

THUMBNAIL_SIDE = 256  # pixels
# Tools know these families by the names sd-scripts gave them; any other goes by its own.
_MODELSPEC_NAMES = {
    "flux": "flux-1-dev",
    "sdxl": "stable-diffusion-xl-v1-base",
    "sd35-large": "stable-diffusion-3.5-large",
}


def describe(
    request: TrainingRequest, spec: BaseModelSpec, settings: TrainingSettings, *, step: int, pictures: int, stem: str
) -> dict[str, str]:
    """Return the metadata of a LoRA trained so far as `step`. Captions stay out of it: they may be private."""
    trigger = {"modelspec.trigger_phrase": request.trigger_word} if request.trigger_word else {}
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{_MODELSPEC_NAMES.get(spec.architecture, spec.architecture)}/lora",
        "modelspec.implementation": "https://github.com/huggingface/diffusers",
        "modelspec.title": request.lora_name,
        "modelspec.description": f"Trained on {spec.name} in {step} steps.",
        "modelspec.author": request.owner,
        "modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"),
        "modelspec.license": spec.licence.name,
        "modelspec.prediction_type": "v",
        "modelspec.resolution": "x".join([str(max(settings.resolution))] * 2),
        **trigger,
        "ss_output_name": stem,
        "ss_base_model_version": spec.id,
        "ss_sd_model_name": spec.weights.repo or spec.id,
        "ss_network_module": "networks.lora_flux" if spec.architecture.startswith("flux") else "networks.lora",
        "ss_network_dim": str(settings.rank),
        "ss_network_alpha": str(settings.alpha),
        "ss_learning_rate": str(settings.learning_rate),
        "ss_steps": str(step),
        "ss_max_train_steps": str(settings.steps),
        "ss_num_train_images": str(pictures),
        "ss_batch_size_per_device": str(settings.batch_size),
        "ss_resolution": ",".join(str(side) for side in settings.resolution),
        "ss_optimizer": str(spec.diffusers.get("optimizer", "adamw")),
        "ss_seed": str(settings.seed),
        "ss_datasets": json.dumps([{"subsets": [{"class_tokens": request.trigger_word, "img_count": pictures}]}]),
    }


def thumbnail_url(picture: Path) -> str:
    """Return a small picture as the data address that ModelSpec keeps thumbnails in."""
    with Image.open(picture) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def stamp(source: Path, target: Path, metadata: dict[str, str]) -> None:
    """Write `source` to `target` with this metadata and the hash of its tensors, whose bytes stay as they are.

    What the file said about itself before is kept where `metadata` doesn't say otherwise.
    """
    header = read_header(source, source.name)
    with source.open("rb") as file:
        file.seek(header.data_at)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    said = {**header.metadata, **metadata, "modelspec.hash_sha256": f"0x{digest}"}
    written = json.dumps({"__metadata__": said, **header.tensors}, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)  # readers map the tensors, which begin at a multiple of 8
    with source.open("rb") as old, target.open("wb") as new:
        new.write(len(written).to_bytes(8, "little") + written)
        old.seek(header.data_at)
        shutil.copyfileobj(old, new, 2**20)
