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
    say_anew: list[dict[str, Any]]  # arguments of the events that follow when the whole form was filled


def build(studio: Studio) -> TrainTab:
    """Build the tab into the page."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            panel = train_dataset.build(studio)
        with gr.Column(scale=3, min_width=320, elem_classes="rail"):
            setup = train_setup.build(studio)
    say_anew = [train_dataset.wire(panel, setup), setup.look_ahead, setup.show_config]
    # Not at a change of each field: from one to the next the form would be at odds with itself.
    for settled in setup.settled:
        for said in say_anew:
            settled.success(**said)
    return TrainTab(setup.start, [panel.dataset, *setup.start_inputs], setup.message, panel, setup, say_anew)
