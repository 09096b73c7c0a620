"""The Train tab: pictures on one side, the set-up of a training on the other."""

from typing import Any, NamedTuple

import gradio as gr

from app.tabs import train_dataset, train_setup
from backend.studio import Studio


class TrainTab(NamedTuple):
    """What other parts of the page are wired to."""

    start: Any
    start_inputs: list[Any]
    message: Any
    dataset: train_dataset.DatasetPanel
    setup: train_setup.SetupPanel


def build(studio: Studio) -> TrainTab:
    """Build the tab into the page."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            panel = train_dataset.build(studio)
        with gr.Column(scale=3, min_width=320, elem_classes="rail"):
            setup = train_setup.build(studio)
    train_dataset.wire(panel, setup)
    return TrainTab(setup.start, [panel.dataset, *setup.start_inputs], setup.message, panel, setup)
