"""The Runs tab: the list of trainings, and the page of one."""

from typing import Any, NamedTuple

import gradio as gr

from app.widgets.run_card import run_card
from app.widgets.run_list import run_list


class RunsTab(NamedTuple):
    """The components other parts of the page are wired to."""

    card: Any


def build() -> RunsTab:
    """Build the tab. Both widgets ask the app's routes for what they show."""
    with gr.Row(equal_height=False, elem_id="run-columns"):
        with gr.Column(scale=3, min_width=280, elem_id="run-list-column"):
            run_list()
        with gr.Column(scale=8, min_width=320):
            card = run_card()
    return RunsTab(card)
