from dataclasses import dataclass

import pytest

from app.tabs.train_dataset import DatasetHandlers
from backend.datasets.datasets import SAMPLE_ID
from backend.errors import NotFound
from backend.studio import Studio
from tests.app.conftest import Visit


@dataclass
class Choice:
    """What the bar tells when somebody opens a dataset."""

    dataset_id: str


def test_the_sample_pictures_come_with_a_name(quiet_studio: Studio) -> None:
    bar, zone, name, trigger = DatasetHandlers(quiet_studio).sample(Visit())

    assert (bar["dataset_id"], zone["note"], name, trigger) == (SAMPLE_ID, "", "Zorbot", "zorbot")


def test_what_is_chosen_is_a_dataset_or_nothing_yet(quiet_studio: Studio) -> None:
    handlers = DatasetHandlers(quiet_studio)

    assert handlers.choose(Choice(SAMPLE_ID)) == SAMPLE_ID
    assert handlers.choose(Choice("")) == ""
    with pytest.raises(NotFound):
        handlers.choose(Choice("../x"))


def test_another_sites_page_is_refused_in_words(quiet_studio: Studio) -> None:
    elsewhere = Visit(headers={"sec-fetch-site": "cross-site"})

    assert "another site" in DatasetHandlers(quiet_studio).sample(elsewhere)[1]["note"]
