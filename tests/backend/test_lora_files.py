"""What is taken for a LoRA file, and what of hostile ones is refused in words."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from backend.errors import LoraRejected
from backend.lora_files import MAX_HEADER_BYTES, check_is_lora, read_header

NAME = "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.safetensors"


def write(path: Path, header: Any, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def tensor(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_a_header_is_read_as_the_library_wrote_it(path: Path) -> None:
    save_file({NAME: numpy.zeros((4, 8), "float16")}, path, metadata={"ss_network_dim": "4"})
    header = check_is_lora(path, "x")
    assert header.tensors[NAME]["shape"] == [4, 8]
    assert header.metadata == {"ss_network_dim": "4"}
    assert path.stat().st_size == header.data_at + 64


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"[]", b""),
        (b"[" * 200_000, b""),
        (b"{\xff}", b""),
        ({NAME: 1}, b""),
        ({NAME: tensor([2, 2], [0, 16])}, b"\0" * 15),
        ({NAME: tensor([2, 2], [0, 16])}, b"\0" * 17),
        ({NAME: tensor([2, 2], [0, 12])}, b"\0" * 12),
        ({NAME: tensor([2, 2], [4, 20])}, b"\0" * 20),
        ({NAME: tensor([-2, -2], [0, 16])}, b"\0" * 16),
        ({NAME: tensor([2, 2], [0, 16]), "b": tensor([2, 2], [8, 24])}, b"\0" * 24),
        ({"__metadata__": {"a": 1}, NAME: tensor([2, 2], [0, 16])}, b"\0" * 16),
    ],
    ids=[
        "a list",
        "deep",
        "not text",
        "a number",
        "cut",
        "longer",
        "small",
        "a gap",
        "negative",
        "overlap",
        "metadata",
    ],
)
def test_a_header_that_lies_is_refused_by_name(path: Path, header: Any, data: bytes) -> None:
    write(path, header, data)
    with pytest.raises(LoraRejected, match=r"'x' is damaged, cut short or not a \.safetensors file"):
        read_header(path, "x")


def test_a_header_is_not_read_beyond_its_limit(path: Path) -> None:
    with path.open("wb") as file:
        file.write((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
        file.truncate(MAX_HEADER_BYTES + 100)
    with pytest.raises(LoraRejected, match="over 25 MB"):
        read_header(path, "x")


def test_a_checkpoint_of_a_whole_model_is_no_lora(path: Path) -> None:
    save_file({"double_blocks.0.img_attn.qkv.weight": numpy.zeros((2, 2), "float32")}, path)
    with pytest.raises(LoraRejected, match=r"'x' is not a LoRA: it holds 1 tensors such as 'double_blocks"):
        check_is_lora(path, "x")
