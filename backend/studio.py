"""The studio: the one place where its parts are joined."""

from dataclasses import dataclass

from backend.base_models import load_base_models
from backend.contract import BaseModelSpec
from backend.datasets.captioner import Captioner
from backend.datasets.datasets import Datasets
from backend.gallery.gallery import Gallery, index_path
from backend.generation.generation import Generation
from backend.generation.prompt_book import PromptBooks, load_prompt_book
from backend.generation.start_pictures import StartPictures
from backend.grids.grids import Grids
from backend.loras.loras import Loras
from backend.loras.publishing import Publishing
from backend.media import Media, is_loopback
from backend.operations.readiness import Readiness
from backend.pictures import Limits
from backend.runs.runpod_client import Endpoint
from backend.runs.runs import Runs
from backend.settings import Settings
from backend.storage import Storage
from backend.training.estimate import Estimates
from backend.training.preflight import Preflight
from backend.training.presets import Preset, load_presets
from backend.training.training import Training
from backend.usage.caps import CapTable
from backend.usage.ledger import Ledger
from backend.usage.limits import UsageLimits
from backend.usage.people import People
from backend.usage.report import UsageReports
from backend.usage.spending_watch import SpendingWatch
from backend.usage.storage_use import StorageUse


@dataclass(frozen=True)
class Studio:
    """What a screen may call."""

    base_models: dict[str, BaseModelSpec]
    default_base_model: str
    presets: list[Preset]
    datasets: Datasets
    captioner: Captioner
    training: Training
    estimates: Estimates
    preflight: Preflight
    generation: Generation
    prompt_books: PromptBooks
    start_pictures: StartPictures
    grids: Grids
    runs: Runs
    loras: Loras
    publishing: Publishing
    gallery: Gallery
    media: Media
    limits: Limits
    usage: UsageLimits
    usage_reports: UsageReports
    spending_watch: SpendingWatch
    readiness: Readiness

    @classmethod
    def connect(cls, settings: Settings) -> "Studio":
        """Join the parts. Nothing is contacted yet."""
        storage = Storage(settings)
        limits = Limits.of(settings)
        base_models = load_base_models(settings.atelier_base_models)
        training_endpoint = Endpoint(settings, settings.runpod_training_endpoint_id, "training")
        image_endpoint = Endpoint(settings, settings.runpod_image_generation_endpoint_id, "image generation")
        is_local = is_loopback(settings.runpod_base_url)
        gpu_price = None if is_local else settings.atelier_gpu_price
        usage = UsageLimits(CapTable.of(settings), Ledger(storage.loras, gpu_price), StorageUse(storage))
        runs = Runs(storage, {"train": training_endpoint, "image": image_endpoint}, usage)
        datasets = Datasets(storage, limits, usage)
        preflight = Preflight(storage, training_endpoint, settings, local=is_local)
        prompt_books = PromptBooks(storage.loras, load_prompt_book())
        loras = Loras(storage, runs, base_models, limits, settings.max_lora_bytes, usage)
        generation = Generation(runs, base_models, prompt_books)
        estimates = Estimates(runs, gpu_price)
        return cls(
            base_models=base_models,
            default_base_model=_default_base_model(base_models, settings),
            presets=load_presets(),
            datasets=datasets,
            captioner=Captioner(settings, datasets),
            training=Training(storage, runs, datasets, base_models, preflight),
            estimates=estimates,
            preflight=preflight,
            generation=generation,
            prompt_books=prompt_books,
            start_pictures=StartPictures(storage.outputs, limits, usage),
            grids=Grids(storage, runs, generation, loras, estimates, base_models),
            runs=runs,
            loras=loras,
            publishing=Publishing(storage, loras, base_models),
            gallery=Gallery(storage, index_path(settings)),
            media=Media(storage),
            limits=limits,
            usage=usage,
            usage_reports=UsageReports(runs, usage, People(storage.loras)),
            spending_watch=SpendingWatch(runs, usage),
            readiness=Readiness(storage, [training_endpoint, image_endpoint]),
        )

    def close(self) -> None:
        """Close the connections."""
        self.spending_watch.close()
        self.readiness.close()
        self.grids.close()
        self.gallery.close()
        self.preflight.close()
        self.runs.close()
        self.publishing.close()
        self.usage.close()


def _default_base_model(base_models: dict[str, BaseModelSpec], settings: Settings) -> str:
    """On one computer a model that came with the studio, as nothing has to be downloaded; on RunPod another one."""
    local = is_loopback(settings.runpod_base_url)
    suited = [spec.id for spec in base_models.values() if bool(spec.weights.path) is local]
    return next(iter(suited), next(iter(base_models)))
