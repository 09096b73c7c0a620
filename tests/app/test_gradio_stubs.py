import inspect
from pathlib import Path

import gradio as gr
import pytest
from gradio.component_meta import create_or_modify_pyi

from app import gradio_stubs
from app.sign_in import Loopback


def test_gradio_passes_over_its_components_and_nothing_else_is_hidden() -> None:
    source = Path(inspect.getfile(gr.Number))
    stub = source.with_suffix(".pyi")
    written = stub.read_bytes() if stub.exists() else None

    with gradio_stubs.none_written():
        with pytest.raises(OSError, match="no stub"):
            inspect.getfile(gr.Number)
        create_or_modify_pyi(gr.Number, "Number", ["a new event"])
        assert Path(inspect.getfile(Loopback)).name == "sign_in.py"

    assert (stub.read_bytes() if stub.exists() else None) == written
    assert Path(inspect.getfile(gr.Number)) == source
