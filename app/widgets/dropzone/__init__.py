"""Where files are dropped or picked and sent one by one, and the invitation to try the sample pictures."""

from typing import Any

import gradio as gr

from app.widgets import widget
from backend.datasets.caption_files import CAPTION_SUFFIXES
from backend.pictures import PICTURE_SUFFIXES, Limits


def dropzone(limits: Limits) -> gr.HTML:
    """Return the zone. It sends files to the dataset that is open, or to a new one, and triggers 'sample'."""
    return widget("dropzone", zone_value(limits))


def zone_value(limits: Limits, note: str = "") -> dict[str, Any]:
    """Return what the zone has to know, and a sentence to show in it."""
    return {
        "max_bytes": limits.file_bytes,
        "max_archive_bytes": limits.total_bytes,
        "max_pictures": limits.images,
        "suffixes": [*sorted(PICTURE_SUFFIXES), *CAPTION_SUFFIXES, ".zip"],
        "captions": list(CAPTION_SUFFIXES),
        "note": note,
    }
