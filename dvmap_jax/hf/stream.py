"""Tensors in, one after the other; a safetensors file out, which never lies in memory whole."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from dvmap_jax.hf.place import blocks, copy_cast

CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
METADATA = {"format": "pt"}  # transformers reads no file without it


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor of the file to come."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """How much of the file it takes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def write_safetensors(
    path: pathlib.Path,
    entries: Sequence[Entry],
    tensors: Iterator[np.ndarray],
) -> None:
    """Writes the entries' tensors, in their order, each cast to its dtype block by block.

    No tensor is kept once it is written. Of entries sorted by name and of one dtype the
    safetensors library writes the same file, byte for byte.
    """
    with path.open("wb") as file:
        file.write(header(entries))
        for entry in entries:
            _write(file, entry, next(tensors))


def _write(file: BinaryIO, entry: Entry, tensor: np.ndarray) -> None:
    for rows in blocks(0, entry.shape[0], entry.num_bytes // max(1, entry.shape[0])):
        block = np.empty((rows.stop - rows.start, *entry.shape[1:]), np.dtype(entry.dtype))
        copy_cast(block, tensor[rows])
        file.write(block.view(np.uint8).data)


def header(entries: Sequence[Entry]) -> bytes:
    """What stands before the numbers: https://github.com/huggingface/safetensors#format.

    Its length in eight bytes, least first; then JSON that gives each tensor's type, shape, and
    first and last byte after the header; then blanks, so that the numbers begin at a multiple of
    eight. The numbers follow in row-major order without gaps.
    """
    fields: dict[str, Any] = {"__metadata__": METADATA}
    stop = 0
    for entry in entries:
        start, stop = stop, stop + entry.num_bytes
        fields[entry.name] = {
            "dtype": CODES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [start, stop],
        }
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
