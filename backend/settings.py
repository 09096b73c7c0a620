"""The environment as one frozen Settings; nothing else reads os.environ."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend.base_models import BASE_MODELS

TrainingEngine = Literal["diffusers", "ai_toolkit"]

_SHORTEST_SECRET = 8  # characters


def _default_home() -> Path:
    return Path.home() / ".local" / "share" / "lora-atelier"


class Settings(BaseSettings):
    """Names are the environment's own, in lower case. Only R2 and RunPod need values, and only in the cloud."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    hf_token: SecretStr | None = None

    r2_account_id: str = ""
    r2_access_key_id: str = ""
    r2_secret_access_key: SecretStr = SecretStr("")
    r2_lora_bucket: str = "atelier-loras"
    r2_output_bucket: str = "atelier-outputs"
    # Replaces the address made from the account id: the local S3 server, or R2 in the EU.
    r2_endpoint_url: str = ""

    runpod_api_key: SecretStr = SecretStr("")
    runpod_base_url: str = "https://api.runpod.ai/v2"
    runpod_training_endpoint_id: str = ""
    runpod_image_generation_endpoint_id: str = ""
    # What `atelier deploy` speaks to, and whose worker images it takes.
    runpod_account_url: str = "https://api.runpod.io/v2"
    dockerhub_username: str = ""

    # Dollars an hour for the training endpoint's GPU, by which trainings are priced: RunPod's flex price for 24 GB.
    atelier_gpu_price: float = Field(0.69, ge=0)

    atelier_home: Path = Field(default_factory=_default_home)
    # Where base models are declared, one folder each.
    atelier_base_models: Path = BASE_MODELS
    # Where a worker keeps base models; on RunPod the network volume.
    atelier_volume: Path = Path("/runpod-volume")

    # What trains: the trainer image says ai_toolkit, where ai-toolkit lies and which Python runs it.
    atelier_training_engine: TrainingEngine = "diffusers"
    ai_toolkit_path: Path = Path("/app/ai-toolkit")
    ai_toolkit_python: str = "python3"
    # Where a ZIP of pictures may be fetched from over https besides our own storage: names or patterns such as
    # *.example.com, comma between; * is any public host.
    atelier_dataset_hosts: str = ""

    # What draws: the image worker's container says comfyui, where ComfyUI lies and which Python runs it (empty: ours).
    atelier_image_engine: Literal["diffusers", "comfyui"] = "diffusers"
    comfyui_path: Path = Path("/comfyui")
    comfyui_python: str = ""
    comfyui_arguments: str = ""  # further arguments, such as --cpu

    # What describes pictures: a vision model, asked through Hugging Face with HF_TOKEN, or at an address of one's own
    # that speaks OpenAI's API, such as vLLM's or llama.cpp's server.
    atelier_caption_model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    atelier_caption_url: str = ""

    # Who may use a studio that others can reach. Off a Space it asks for this password, or listens on loopback alone.
    atelier_password: SecretStr = SecretStr("")
    # Signs cookies; drawn at each start if not given, which signs everybody out.
    session_secret: SecretStr = SecretStr("")
    # On a Space: names and organisations on Hugging Face, comma between; empty means the Space's owner alone.
    allowed_users: str = ""
    public: bool = False  # everybody may, signed in or not

    # How much one person may use, and everybody together; 0 is no limit. Not given: no limit, but for the visitors of a
    # public studio, and for all of one (backend/usage/caps.py has the figures).
    atelier_max_running_jobs: int | None = Field(None, ge=0)
    atelier_max_running_jobs_in_all: int | None = Field(None, ge=0)
    atelier_max_pictures_a_day: int | None = Field(None, ge=0)
    atelier_max_pictures_a_day_in_all: int | None = Field(None, ge=0)
    atelier_max_storage_gb: float | None = Field(None, ge=0)
    atelier_max_storage_gb_in_all: float | None = Field(None, ge=0)
    atelier_max_files: int | None = Field(None, ge=0)
    atelier_max_dollars_a_day: float | None = Field(None, ge=0)
    atelier_max_dollars_a_day_in_all: float | None = Field(None, ge=0)
    atelier_max_dollars_a_month: float | None = Field(None, ge=0)
    atelier_max_dollars_a_month_in_all: float | None = Field(None, ge=0)
    atelier_max_training_minutes: float | None = Field(None, ge=0)  # of one training, whoever's

    # How the studio logs: 'text' or 'json'; JSON on a Space if not given.
    atelier_log: Literal["", "text", "json"] = ""
    # Lets a collector read /metrics; without it only the studio's owner can.
    atelier_metrics_token: SecretStr = SecretStr("")

    # What a Space says of itself, and Gradio's word for being on one.
    space_id: str = ""
    space_author_name: str = ""
    system: str = ""
    oauth_client_id: str = ""

    max_dataset_images: int = 1000
    max_upload_bytes: int = 100 * 2**20  # one file
    max_dataset_bytes: int = 10 * 2**30
    max_lora_bytes: int = 2 * 2**30  # one imported file
    max_image_pixels: int = 120_000_000

    @property
    def secrets(self) -> frozenset[str]:
        """Everything that must not be shown, stored or logged, but for what is too short to be one."""
        values = (getattr(self, name) for name in type(self).model_fields)
        hidden = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
        return frozenset(secret for secret in {*hidden, self.r2_access_key_id} if len(secret) >= _SHORTEST_SECRET)

    @property
    def storage_endpoint(self) -> str:
        """The S3 address: R2's for the account, unless one is given."""
        return self.r2_endpoint_url or f"https://{self.r2_account_id}.r2.cloudflarestorage.com"

    @property
    def hub_cache(self) -> Path:
        """Where downloaded base models lie, as the Hub's own libraries lay them out."""
        return self.atelier_volume / "huggingface"

    @property
    def in_cloud(self) -> bool:
        """Whether RunPod endpoints are configured, so that no local machine has to be started."""
        return bool(self.runpod_api_key.get_secret_value() and self.runpod_training_endpoint_id)
