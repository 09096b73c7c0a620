"""Every key in storage, spelt once: where datasets, runs, LoRAs, pictures and the rest lie, and whose they are."""

import hashlib
from typing import NamedTuple

from backend.contract import OutputFormat, RunId

_PICTURE_SUFFIXES: dict[OutputFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


class DatasetKeys(NamedTuple):
    """Where a dataset lies in the LoRA bucket."""

    owner: str
    dataset_id: str

    @property
    def prefix(self) -> str:
        return f"datasets/{self.owner}/{self.dataset_id}/"

    @property
    def record(self) -> str:
        return f"{self.prefix}dataset.json"

    @property
    def captions(self) -> str:
        return f"{self.prefix}captions.json"

    @property
    def arrivals(self) -> str:
        """What came and is not in the record yet, one object a file."""
        return f"{self.prefix}arrivals/"

    def arrival(self, name: str) -> str:
        return f"{self.arrivals}{name}.json"

    def image(self, sha256: str, suffix: str) -> str:
        return f"{self.prefix}{sha256}{suffix}"

    def thumb(self, sha256: str) -> str:
        return f"{self.prefix}thumbs/{sha256}.webp"


class RunKeys(NamedTuple):
    """Where a run lies in the LoRA bucket."""

    owner: str
    run_id: RunId

    @property
    def prefix(self) -> str:
        return f"runs/{self.owner}/{self.run_id}/"

    @property
    def request(self) -> str:
        return f"{self.prefix}request.json"

    @property
    def dataset(self) -> str:
        """The dataset exactly as this run used it."""
        return f"{self.prefix}dataset.json"

    @property
    def submission(self) -> str:
        return f"{self.prefix}job.json"

    @property
    def progress(self) -> str:
        return f"{self.prefix}progress.json"

    @property
    def result(self) -> str:
        return f"{self.prefix}result.json"

    @property
    def failure(self) -> str:
        return f"{self.prefix}failure.json"

    @property
    def stop(self) -> str:
        """Why the studio stopped the run, when it did."""
        return f"{self.prefix}stop.json"

    @property
    def log(self) -> str:
        return f"{self.prefix}log.txt"

    @property
    def checkpoints(self) -> str:
        return f"{self.prefix}checkpoints/"

    @property
    def preview(self) -> str:
        """What the picture being drawn looks like so far."""
        return f"{self.prefix}preview.jpg"

    @property
    def all_metrics(self) -> str:
        return f"{self.prefix}metrics/"

    def metrics(self, first_step: int) -> str:
        return f"{self.all_metrics}{first_step:09d}.json"

    @property
    def samples(self) -> str:
        return f"{self.prefix}samples/"

    def sample(self, step: int, index: int) -> str:
        return f"{self.samples}{step:09d}-{index}.webp"

    def checkpoint(self, stem: str, step: int) -> str:
        return f"{self.checkpoints}{stem}_{step:09d}.safetensors"

    @property
    def states(self) -> str:
        return f"{self.prefix}states/"

    def state(self, step: int) -> str:
        """What the engine needs beside the checkpoint of the same step to go on exactly there; stored before it."""
        return f"{self.states}{step:09d}.bin"


class LoraKeys(NamedTuple):
    """Where a LoRA lies in the LoRA bucket."""

    owner: str
    lora_id: str

    @property
    def prefix(self) -> str:
        return f"loras/{self.owner}/{self.lora_id}/"

    @property
    def record(self) -> str:
        return f"{self.prefix}lora.json"

    @property
    def label(self) -> str:
        return f"{self.prefix}label.json"

    def thumb(self, picture: bytes) -> str:
        """Another picture has another key: browsers keep what they have from an address for good."""
        return f"{self.prefix}thumb-{hashlib.sha256(picture).hexdigest()[:16]}.webp"

    def file(self, stem: str) -> str:
        return f"{self.prefix}{stem}.safetensors"


class ImageKeys(NamedTuple):
    """Where a picture lies in the output bucket. Image ids begin with 13 digits that sort newest first."""

    owner: str
    image_id: str
    output_format: OutputFormat = "png"

    @property
    def image(self) -> str:
        return f"images/{self.owner}/{self.image_id}{_PICTURE_SUFFIXES[self.output_format]}"

    @property
    def everything(self) -> list[str]:
        """All that may be there of it, whatever its format, but for the record."""
        pictures = [self._replace(output_format=output_format).image for output_format in _PICTURE_SUFFIXES]
        return [*pictures, self.thumb]

    @property
    def thumb(self) -> str:
        return f"thumbs/{self.owner}/{self.image_id}.webp"

    @property
    def record(self) -> str:
        return f"{record_prefix(self.owner)}{self.image_id}.json"

    @property
    def favourite(self) -> str:
        """Is there while somebody likes the picture."""
        return f"{favourite_prefix(self.owner)}{self.image_id}.json"

    @classmethod
    def of_run(cls, owner: str, run_id: RunId, index: int, output_format: OutputFormat = "png") -> "ImageKeys":
        """A run's pictures have fixed keys, so a run that is done again overwrites and never doubles them."""
        return cls(owner, f"{run_id.removeprefix('image-')}-{index}", output_format)


class GridKeys(NamedTuple):
    """Where a grid lies in the output bucket. Its pictures are runs' pictures like all others."""

    owner: str
    grid_id: str

    @property
    def record(self) -> str:
        return f"{grid_prefix(self.owner)}{self.grid_id}.json"


def grid_prefix(owner: str) -> str:
    """Where the records of an owner's grids lie, newest first."""
    return f"grids/{owner}/"


def record_prefix(owner: str) -> str:
    """Where the records of all of an owner's pictures lie, newest first."""
    return f"records/{owner}/"


def favourite_prefix(owner: str) -> str:
    """Where the marks of an owner's favourite pictures lie."""
    return f"favourites/{owner}/"


def removal_prefix(owner: str) -> str:
    """Where it is noted for a day which pictures an owner deleted, newest first."""
    return f"removals/{owner}/"


def ledger_prefix(month: str, owner: str = "") -> str:
    """Where it is written what the runs of a month ('2026-11') cost: one owner's, or everybody's."""
    return f"ledger-{month}/{owner}/" if owner else f"ledger-{month}/"


def person_key(owner: str) -> str:
    """Where it is noted what somebody calls themselves."""
    return f"people/{owner}/person.json"


def start_picture_key(owner: str, sha256: str) -> str:
    """Where a picture from outside lies that pictures start from; named by its content, so it is there once."""
    return f"starts/{owner}/{sha256[:32]}.jpg"


def prompt_book_key(owner: str) -> str:
    """Where an owner's styles and lists for wildcards lie in the LoRA bucket."""
    return f"prompts/{owner}/book.json"


def is_of(owner: str, key: str) -> bool:
    """Return whether an object is one of the owner's: the second part of a key says whose it is."""
    parts = key.split("/")
    return len(parts) > 2 and parts[1] == owner and key.isprintable() and not {"", ".", ".."} & set(parts)


def direct_job_key(job_id: str) -> str:
    """Where a worker notes the run id it chose for a job that came without one."""
    return f"jobs/{hashlib.sha256(job_id.encode()).hexdigest()}.txt"
