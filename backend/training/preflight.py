"""What is made sure of before a training costs anything: what is asked for, storage, the endpoint, licence, room."""

import os
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

from huggingface_hub import auth_check
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from pydantic import SecretStr

from backend.contract import BaseModelSpec, TrainingSettings
from backend.errors import AtelierError, HubError, InvalidRequest, StorageError
from backend.hugging_face import bound_waiting
from backend.runs.runpod_client import Endpoint
from backend.settings import Settings, TrainingEngine
from backend.storage import Bucket, Storage
from backend.trainable import check_trainable

_DEADLINE_S = 8.0
_SPARE_BYTES = 2 * 2**30  # beside the weights: checkpoints, caches, pictures


class Preflight:
    """Looks at everything a training needs, all at once."""

    def __init__(self, storage: Storage, training: Endpoint, settings: Settings, *, local: bool) -> None:
        self._local = local  # whether what trains shares this computer
        self._storage = storage
        self._training = training
        self._settings = settings
        # The local machine's worker is given the studio's own settings; the image for RunPod holds ai-toolkit.
        self._engine: TrainingEngine = settings.atelier_training_engine if local else "ai_toolkit"
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="preflight")

    def obstacle(self, spec: BaseModelSpec) -> AtelierError | None:
        """Return why a base model can't be trained here, or None if it can. Nobody is asked."""
        try:
            self._trainable(spec, spec.training)
        except AtelierError as error:
            return error
        return None

    def check(self, spec: BaseModelSpec, settings: TrainingSettings) -> None:
        """Return when nothing stands in the way. Raises the first thing that does, in words.

        What doesn't answer in time stands in no way: the training itself will say so.
        """
        self._trainable(spec, settings)
        checks: list[Callable[[], object]] = [
            lambda: check_writable(self._storage.loras, "R2_LORA_BUCKET"),
            lambda: check_writable(self._storage.outputs, "R2_OUTPUT_BUCKET"),
            self._training.health,
            lambda: self._licensed(spec),
            lambda: self._room(spec),
        ]
        asked = [self._pool.submit(check) for check in checks]
        done, _ = wait(asked, timeout=_DEADLINE_S)
        for future in asked:
            if future in done:
                future.result()

    def close(self) -> None:
        """Wait for nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _trainable(self, spec: BaseModelSpec, settings: TrainingSettings) -> None:
        check_trainable(spec, settings, self._engine)
        # A GPU holds the model in its own memory, and says itself when that is too small. Without one the computer
        # holds it whole, as only ai-toolkit can load a model in parts and in 8 bits.
        if not self._local or self._engine != "diffusers" or shutil.which("nvidia-smi"):
            return
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if spec.weights.bytes > memory:
            raise InvalidRequest(
                f"{spec.name} takes {spec.weights.bytes / 1e9:.0f} GB of memory to train; this computer has "
                f"{memory / 1e9:.0f} GB, and no NVIDIA GPU.",
                "Choose a smaller base model, or train on RunPod: the README says how.",
            )

    def _licensed(self, spec: BaseModelSpec) -> None:
        token = self._settings.hf_token
        if not spec.licence.gated:
            return
        if token is None:
            if self._local:  # elsewhere the worker has a token of its own
                raise InvalidRequest(
                    f"{spec.name} downloads only with a Hugging Face token.",
                    f"Accept its terms at {spec.licence.link}, and set HF_TOKEN.",
                )
            return
        with suppress(HubError):  # the Hub may be away from here and within the worker's reach
            check_licence(spec, token)

    def _room(self, spec: BaseModelSpec) -> None:
        """On one's own computer: whether the weights fit. A network volume can't be seen from here."""
        folder = self._settings.hub_cache
        is_here = (folder / f"models--{spec.weights.repo.replace('/', '--')}").exists()
        if not self._local or not spec.weights.repo or is_here:
            return
        free = shutil.disk_usage(_existing(folder)).free
        if free < spec.weights.bytes + _SPARE_BYTES:
            raise InvalidRequest(
                f"{spec.name} takes {spec.weights.bytes / 1e9:.0f} GB on disk; {folder} has {free / 1e9:.0f} GB free.",
                "Make room, or choose a smaller base model.",
            )


def check_writable(bucket: Bucket, variable: str) -> None:
    """Return when a bucket can be written to. Raises StorageError, naming the variable it is known by."""
    key = f"preflight/{secrets.token_hex(8)}"
    try:
        bucket.put(key, b"")
        bucket.delete([key])
    except StorageError as error:
        raise StorageError(f"The bucket '{bucket.name}' can't be written to. {error}", f"Check {variable}.") from error


def check_licence(spec: BaseModelSpec, token: SecretStr) -> None:
    """Return when a token's account may download a gated model. Raises InvalidRequest; HubError if none can say."""
    bound_waiting()
    try:
        auth_check(spec.weights.repo, token=token.get_secret_value())
    except GatedRepoError as error:
        raise InvalidRequest(
            f"The terms of {spec.name} have not been accepted by HF_TOKEN's account.",
            f"Accept them at https://huggingface.co/{spec.weights.repo}, and start again.",
        ) from error
    except RepositoryNotFoundError as error:
        raise InvalidRequest(
            f"Hugging Face shows {spec.weights.repo} to nobody with this HF_TOKEN.", "Check the token."
        ) from error
    except Exception as error:
        raise HubError("Hugging Face is not responding.", "Try again in a minute.") from error


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
