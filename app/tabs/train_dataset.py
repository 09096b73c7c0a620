"""The dataset side of the Train tab: choose or upload pictures, and caption them."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from app.identifiers import dataset_id_in
from app.session import owner_of
from app.tabs.choices import QUICK
from app.views.datasets import DatasetViews
from app.widgets.caption_grid import caption_grid
from app.widgets.dropzone import dropzone
from app.wording import in_words
from backend.contract import DatasetId, file_stem
from backend.datasets import Intake, Upload
from backend.errors import InvalidRequest
from backend.studio import Studio

_NEW = ""  # the choice of no dataset yet


class DatasetPanel(NamedTuple):
    """The components of this side, and what happens on it."""

    datasets: Any
    dataset: Any
    zone: Any
    files: Any
    grid: Any
    handlers: "DatasetHandlers"


def build(studio: Studio) -> DatasetPanel:
    """Build the panel into the column around it."""
    handlers = DatasetHandlers(studio)

    def save_captions(payload: Any, request: gr.Request) -> dict[str, str]:
        return handlers.save_captions(payload, request)

    datasets = gr.Dropdown([], label="Dataset", visible=False, interactive=True, filterable=False, elem_id="dataset")
    # What is chosen, apart from the list: a restarted server has not listed anything to this page yet.
    dataset = gr.Textbox("", visible=False)
    zone = dropzone(handlers.zone())
    files = gr.File(label="Files", file_count="multiple", elem_id="files", elem_classes="away", interactive=True)
    grid = caption_grid(save_captions)
    return DatasetPanel(datasets, dataset, zone, files, grid, handlers)


def wire(panel: DatasetPanel, page: gr.Blocks, name: Any, trigger: Any) -> None:
    """Connect the panel's parts; the sample dataset also fills in a name and a trigger word."""
    datasets, dataset, zone, files, grid, handlers = panel
    page.load(handlers.list_datasets, dataset, [datasets, dataset], **QUICK).then(
        handlers.choose, dataset, [grid, zone], **QUICK
    )
    datasets.input(None, datasets, dataset, js="chosen => chosen ?? ''", **QUICK).then(
        handlers.choose, dataset, [grid, zone], **QUICK
    )
    taken = [
        zone.sample(handlers.sample, None, [grid, zone, dataset, name, trigger], **QUICK),
        files.upload(handlers.upload, [files, dataset], [grid, zone, dataset, files], **QUICK),
    ]
    for intake in taken:
        intake.then(handlers.list_datasets, dataset, [datasets, dataset], **QUICK)


class DatasetHandlers:
    """What happens on this side. Every method returns updates for the components named in `wire`."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._views = DatasetViews(studio.media, studio.base_models)

    def list_datasets(self, chosen: str, request: gr.Request) -> tuple[Any, str]:
        datasets = self._studio.datasets.of_owner(owner_of(request))
        choices = [("New dataset…", _NEW), *((f"{each.name} · {len(each.images)}", each.id) for each in datasets)]
        chosen = chosen or (datasets[0].id if datasets else _NEW)
        return gr.Dropdown(choices=choices, value=chosen, visible=bool(datasets)), chosen

    def choose(self, dataset_id: DatasetId, request: gr.Request) -> tuple[Any, Any]:
        if not dataset_id:
            return None, self.zone()
        try:
            dataset = self._studio.datasets.get(owner_of(request), dataset_id_in(dataset_id))
        except Exception as error:
            return None, self.zone(note=in_words(error))
        return self._views.dataset(dataset), self.zone(compact=True)

    def sample(self, request: gr.Request) -> tuple[Any, ...]:
        try:
            dataset = self._studio.datasets.sample(owner_of(request))
        except Exception as error:
            return None, self.zone(note=in_words(error)), gr.skip(), gr.skip(), gr.skip()
        return self._views.dataset(dataset), self.zone(compact=True), dataset.id, "Zorbot", "zorbot"

    def upload(self, files: list[str], dataset_id: DatasetId, request: gr.Request) -> tuple[Any, ...]:
        """Take files into the chosen dataset, or into a new one. The last output empties the file box."""
        uploads = [Upload(Path(file).name, Path(file)) for file in files or []]
        try:
            if dataset_id:
                intake = self._studio.datasets.add(owner_of(request), dataset_id_in(dataset_id), uploads)
            else:
                intake = self._studio.datasets.create_from(owner_of(request), _name_for(uploads), uploads)
        except Exception as error:
            return gr.skip(), self.zone(compact=bool(dataset_id), note=in_words(error)), gr.skip(), None
        refused = [{"name": each.name, "reason": each.reason} for each in intake.refused]
        zone = self.zone(compact=True, note=_came_of(intake), refused=refused)
        return self._views.dataset(intake.dataset), zone, intake.dataset.id, None

    def save_captions(self, payload: Any, request: gr.Request) -> dict[str, str]:
        """Store captions the grid sends: {"dataset_id": …, "captions": {content hash: text}}."""
        try:
            owner = owner_of(request)
            dataset_id, captions = _checked_captions(payload)
            self._studio.datasets.set_captions(owner, dataset_id, captions)
        except Exception as error:
            return {"error": in_words(error)}
        return {}

    def zone(self, **shown: Any) -> dict[str, Any]:
        limits = self._studio.limits
        return {"target": "files", "max_bytes": limits.file_bytes, "max_archive_bytes": limits.total_bytes, **shown}


def _name_for(uploads: list[Upload]) -> str:
    """A new dataset is called as its archive is, else by its day."""
    archives = [upload.path.stem for upload in uploads if upload.path.suffix.lower() == ".zip"]
    return file_stem(archives[0]) if archives else time.strftime("Pictures of %-d %B, %H.%M")


def _came_of(intake: Intake) -> str:
    parts = [f"{intake.added} {'picture' if intake.added == 1 else 'pictures'} added"]
    if intake.merged:
        parts.append(f"{intake.merged} there already")
    if intake.refused:
        parts.append(f"{len(intake.refused)} not taken")
    return ", ".join(parts) + "."


def _checked_captions(payload: Any) -> tuple[DatasetId, dict[str, str]]:
    """The page's own script sends these, but anybody can."""
    dataset_id, captions = (
        (payload.get("dataset_id"), payload.get("captions")) if isinstance(payload, dict) else ("", 0)
    )
    if not isinstance(dataset_id, str) or not isinstance(captions, dict):
        raise InvalidRequest("These captions can't be read.", "Reload the page.")
    if not all(isinstance(text, str) for text in captions.values()):
        raise InvalidRequest("A caption is not text.", "Reload the page.")
    return dataset_id_in(payload.get("dataset_id")), captions
