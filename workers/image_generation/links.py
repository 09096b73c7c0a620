"""The volume's weights where ComfyUI looks for them: links into its models folder, as each base model declares them.

`python -m workers.image_generation.links` links what is on the volume, fetching nothing; with names of base models it
fetches what those still need. The rest is fetched when it is asked for.
"""

import json
import re
import sys
import uuid
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from backend.base_models import load_base_model, load_base_models
from backend.contract import BaseModelSpec, WeightFile
from backend.errors import AtelierError, WeightsError
from backend.hugging_face import bound_waiting
from backend.settings import Settings
from backend.storage import sha256_of
from workers.weights_lock import fetching

_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def link_weights(spec: BaseModelSpec, settings: Settings, *, fetch: bool = True) -> Path:
    """Return ComfyUI's models folder with a base model's files in it, fetching what the volume lacks. Blocks.

    Raises WeightsError, naming the file, for a shard, for what can't be had, and for a file that is not whole.
    """
    models = settings.comfyui_path / "models"
    for file in spec.weights.comfyui:
        _link(_whole(_on_volume(spec, file, settings, fetch=fetch), file), models / _place(spec, file))
    return models


def link_what_is_there(specs: list[BaseModelSpec], settings: Settings) -> dict[str, str]:
    """Link what the volume holds; return for each base model 'ready' or what it still needs. Blocks."""
    found: dict[str, str] = {}
    for spec in specs:
        try:
            link_weights(spec, settings, fetch=False)
            found[spec.id] = "ready" if spec.weights.comfyui else "not for ComfyUI"
        except AtelierError as error:
            found[spec.id] = error.message
    return found


def _place(spec: BaseModelSpec, file: WeightFile) -> Path:
    """Return where under the models folder a file appears. Raises WeightsError for a place outside it, or a shard."""
    name = file.name or Path(file.file).name
    if _SHARD.search(name) or _SHARD.search(file.file):
        raise WeightsError(
            f"{spec.id}/model.toml: {file.file} is one shard of several, which ComfyUI loads without a word as if it "
            "were the whole.",
            "Name a file that holds the whole model.",
        )
    place = Path(file.folder) / name
    if place.is_absolute() or ".." in place.parts:
        raise WeightsError(f"{spec.id}/model.toml: {place} leads out of ComfyUI's models folder.", "Correct 'folder'.")
    return place


def _on_volume(spec: BaseModelSpec, file: WeightFile, settings: Settings, *, fetch: bool) -> Path:
    """Return a file of the volume, which is downloaded once, under the lock that all workers fetch by."""
    _place(spec, file)
    try:
        try:
            path = _download(file, settings, local_files_only=True)
        except LocalEntryNotFoundError:
            if not fetch:
                raise
            with fetching(file.repo, settings.hub_cache):
                path = _download(file, settings)
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise WeightsError(
            f"{file.file} may not be downloaded from {file.repo}.",
            f"Accept its licence at https://huggingface.co/{file.repo} and set HF_TOKEN to one of that account.",
        ) from error
    except LocalEntryNotFoundError as error:
        raise WeightsError(f"{file.file} of {file.repo} is not on the volume.", "Check the connection.") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise WeightsError(
            f"{file.file} of {file.repo} could not be downloaded: {error}", "Check the connection and the disk."
        ) from error
    return path


def _download(file: WeightFile, settings: Settings, *, local_files_only: bool = False) -> Path:
    bound_waiting()
    # False and not None: a token that somebody left in a home folder shall not decide what can be fetched.
    token: str | bool = settings.hf_token.get_secret_value() if settings.hf_token else False
    path = hf_hub_download(
        file.repo,
        file.file,
        revision=file.revision,
        cache_dir=settings.hub_cache,
        token=token,
        local_files_only=local_files_only,
    )
    return Path(path)


def _whole(path: Path, file: WeightFile) -> Path:
    """Return the path of a file that is all there. Raises WeightsError for one that is not what was declared."""
    size = path.stat().st_size
    if path.suffix == ".safetensors" and size < (needed := _declared_bytes(path)):
        raise WeightsError(
            f"{file.file} is cut short: {size:,} of {needed:,} bytes.", "Remove it from the volume; it is fetched anew."
        )
    if file.sha256:
        blob = path.resolve().name  # the Hub's cache names a large file by its content
        if (blob if _SHA256.fullmatch(blob) else sha256_of(path)) != file.sha256:
            raise WeightsError(
                f"{file.file} of {file.repo} is not the file that was declared.", "Correct its sha256 or its revision."
            )
    return path


def _declared_bytes(path: Path) -> int:
    """Return how long a safetensors file must be for its own header."""
    with path.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        try:
            header = json.loads(opened.read(min(length, 2**27)))
        except ValueError:
            return length + 8 + 1  # not even its header is there
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    return 8 + length + max(ends, default=0)


def _link(source: Path, target: Path) -> None:
    """Make `target` a link to `source`; a file that lies there by itself is left alone."""
    if target.exists() and not target.is_symlink():
        return
    if target.is_symlink() and target.readlink() == source:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    temporary.symlink_to(source)
    temporary.replace(target)


def main(names: list[str]) -> int:
    """Run the command line; return its exit code."""
    settings, failed = Settings(), False
    if not names:
        for base_model, state in link_what_is_there(
            list(load_base_models(settings.atelier_base_models).values()), settings
        ).items():
            print(f"{base_model}: {state}")
    for name in names:
        try:
            link_weights(load_base_model(name, settings.atelier_base_models), settings)
            print(f"{name}: ready", flush=True)
        except AtelierError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
