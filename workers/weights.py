"""The model cache on the volume: base models in Hugging Face snapshot layout, fetched when they are missing."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from backend.base_models import weights_folder
from backend.contract import BaseModelSpec
from backend.errors import WeightsError
from backend.settings import Settings


def fetch_weights(spec: BaseModelSpec, settings: Settings) -> Path:
    """Return the folder a base model can be loaded from, downloading it first if need be. Blocks."""
    if folder := weights_folder(spec):
        if not (folder / "model_index.json").exists():
            raise WeightsError(f"{spec.name} lacks its weights at {folder.name}/.", "Clone the repository again.")
        return folder
    try:
        snapshot = snapshot_download(
            spec.weights.repo,
            revision=spec.weights.revision,
            allow_patterns=spec.weights.include or None,
            cache_dir=settings.atelier_volume / "huggingface",
            token=settings.hf_token.get_secret_value() if settings.hf_token else None,
        )
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise WeightsError(
            f"{spec.name} may not be downloaded from {spec.weights.repo}.",
            f"Accept its licence at {spec.licence.link} and set HF_TOKEN to a token of that account.",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"{spec.name} could not be downloaded: {error}", "Check the connection and the disk."
        ) from error
    return Path(snapshot)
