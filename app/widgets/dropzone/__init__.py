"""Where files are dropped or picked, and the invitation to try the sample pictures."""

from typing import Any

import gradio as gr

from app.widgets import widget


def dropzone(value: dict[str, Any]) -> gr.HTML:
    """Return the zone. It hands files to the gr.File whose id is `value["target"]`, and triggers 'sample'.

    Its value: {"target": element id, "max_bytes": of a file, "max_archive_bytes": of a ZIP, "compact": whether there
    are pictures already, "refused": [{"name", "reason"}], "note": what came of the last files}.
    """
    return widget("dropzone", value)
