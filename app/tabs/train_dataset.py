"""The dataset side of the Train tab: choose or send pictures, look them over, and caption them."""

from typing import Any, NamedTuple

import gradio as gr

from app.identifiers import dataset_id_in
from app.session import owner_of
from app.tabs.choices import QUICK
from app.tabs.train_setup import SetupPanel
from app.widgets.caption_grid import caption_grid
from app.widgets.caption_tools import caption_tools
from app.widgets.checkup import checkup, setup_value
from app.widgets.dataset_bar import dataset_bar
from app.widgets.dropzone import dropzone, zone_value
from app.wording import in_words
from backend.studio import Studio


class DatasetPanel(NamedTuple):
    """The components of this side, and what happens on it."""

    dataset: Any
    bar: Any
    zone: Any
    check: Any
    handlers: "DatasetHandlers"


def build(studio: Studio) -> DatasetPanel:
    """Build the panel into the column around it. Its widgets speak to the dataset routes by themselves."""
    # What is chosen, as the set-up side needs it.
    dataset = gr.Textbox("", visible=False)
    bar = dataset_bar()
    zone = dropzone(studio.limits)
    spec = studio.base_models[studio.default_base_model]
    check = checkup(spec.id, spec.training.resolution)
    caption_tools(studio.captioner)
    caption_grid()
    return DatasetPanel(dataset, bar, zone, check, DatasetHandlers(studio))


def wire(panel: DatasetPanel, setup: SetupPanel) -> dict[str, Any]:
    """Connect the panel's parts; the sample dataset also fills in a name and a trigger word.

    Returns an event's arguments, to have the pictures looked at anew for what is set up.
    """
    dataset, bar, zone, check, handlers = panel
    shown_for = [setup.base_model, setup.trigger, setup.resolution]
    look_over = {"fn": setup_value, "inputs": shown_for, "outputs": check, **QUICK}
    gr.on([setup.trigger.change, setup.resolution.input], trigger_mode="always_last", **look_over)
    bar.choose(handlers.choose, None, dataset, **QUICK)
    bar.counted(handlers.counted, None, setup.pictures, **QUICK)
    zone.sample(handlers.sample, None, [bar, zone, setup.name, setup.trigger], **QUICK)
    return look_over


class DatasetHandlers:
    """What happens on this side. Every method returns updates for the components named in `wire`."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def choose(self, event: gr.EventData) -> str:
        return dataset_id_in(event.dataset_id) if event.dataset_id else ""

    def counted(self, event: gr.EventData) -> int:
        return int(event.pictures)

    def sample(self, request: gr.Request) -> tuple[Any, ...]:
        try:
            dataset = self._studio.datasets.sample(owner_of(request))
        except Exception as error:
            return gr.skip(), zone_value(self._studio.limits, in_words(error)), gr.skip(), gr.skip()
        return {"dataset_id": dataset.id}, zone_value(self._studio.limits), "Zorbot", "zorbot"
