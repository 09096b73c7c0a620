"""Keeps Gradio from writing type stubs for editors whenever it is imported, which is half of what its import takes."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def none_written() -> Iterator[None]:
    """Import Gradio for the first time in here, and its components are taken for classes that lie in no file."""
    file_of = inspect.getfile

    def nowhere(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError("Gradio makes no stub for a class without a file.")
        return file_of(thing)

    inspect.getfile = nowhere  # type: ignore[assignment]  # it names its parameter `object`
    try:
        yield
    finally:
        inspect.getfile = file_of
