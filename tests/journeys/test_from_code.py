"""The README's example, run as it stands against a studio as people start it, with a shorter training."""

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_example_trains_and_prompts(address: str) -> None:
    section = README.read_text(encoding="utf-8").split("\n## From code\n")[1]
    found = re.search(r"```python\n(.+?)```", section, re.DOTALL)
    assert found
    quick = '"steps": 4, "prior_preservation": False'
    example = found[1].replace("http://127.0.0.1:7860", address).replace('"steps": 300', quick)
    assert address in example
    assert quick in example

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - it is ours, and people will run it

    assert re.fullmatch(r"(\d+ /media/outputs/images/local/\S+\.png\n){2}2 pictures in the gallery\n", said.getvalue())
