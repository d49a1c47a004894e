"""Named tensors in files in, parameters in their shards out: no number is held twice for long.

A process reads what its own devices hold, in blocks, and casts block by block.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import jax
import numpy as np

from dvmap_jax.hf.names import Tensor

BLOCK_BYTES = 4 * 2**20  # read at once: all that is held beside the parameters themselves
TILE_ROWS = 128  # transposed at once: twice as fast as 800 (2 cores, rows of 2,560 bfloat16)
ALIGNMENT = 64  # what JAX's CPU backend takes over as it is; anything less aligned it copies

Index = tuple[slice, ...]
Bounds = tuple[tuple[int, int], ...]  # start and stop along each axis


class TensorSource(Protocol):
    """Named tensors of a model in files, read in parts."""

    def names(self) -> list[str]:
        """Every tensor there is."""

    def where(self, name: str) -> str:
        """The file a tensor lies in, or would lie in; begins error messages."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape, in the layout of Hugging Face, without reading it."""

    def read(self, name: str, index: Index) -> np.ndarray:
        """Its values there, in the layout of Hugging Face; a slice of whole bounds an axis."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter to come: where its values lie in files, and where they belong on devices."""

    row: Tensor
    names: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    sharding: jax.sharding.Sharding

    @property
    def num_bytes(self) -> int:
        """How much of it this process reads; what several of its devices hold counts once."""
        indices = self.sharding.addressable_devices_indices_map(self.shape).values()
        parts = {_bounds(index, self.shape) for index in indices}
        return sum(math.prod(_sizes(part)) for part in parts) * self.dtype.itemsize

    def check_divides(self) -> None:
        """Raises ValueError where its sharding does not divide its shape."""
        try:
            self.sharding.shard_shape(self.shape)
        except ValueError as error:
            raise ValueError(
                f"{'/'.join(self.row.path)} of shape {list(self.shape)} does not divide as its "
                f"sharding asks; choose another mesh: {error}"
            ) from None


def place(
    parameter: Parameter, source: TensorSource, told: Callable[[int], None] = lambda done: None
) -> jax.Array:
    """The parameter, each shard read from `source`; returns once the devices have it.

    `told` hears of bytes done. Devices of this process that hold the same part share one reading.
    """
    part = functools.cache(functools.partial(_read_part, parameter, source, told))
    array = jax.make_array_from_callback(
        parameter.shape,
        parameter.sharding,
        lambda index: part(_bounds(index, parameter.shape)),
        dtype=parameter.dtype,
    )
    return array.block_until_ready()  # else parts on their way to devices pile up on the host


def blocks(start: int, stop: int, row_bytes: int) -> Iterator[slice]:
    """Consecutive rows from `start` to `stop`, about `BLOCK_BYTES` at a time."""
    size = max(1, BLOCK_BYTES // max(1, row_bytes))
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def copy_cast(target: np.ndarray, values: np.ndarray) -> None:
    """Fills `target`, also one laid out the other way, with values of any floating-point type."""
    for start in range(0, len(target), TILE_ROWS):
        tile = slice(start, start + TILE_ROWS)
        target[tile] = values[tile]


def _read_part(
    parameter: Parameter, source: TensorSource, told: Callable[[int], None], bounds: Bounds
) -> np.ndarray:
    out = _aligned(_sizes(bounds), parameter.dtype)
    row = parameter.row
    layers, inner = (range(*bounds[0]), bounds[1:]) if row.stacked else (range(1), bounds)
    for target, layer in zip(out if row.stacked else [out], layers, strict=True):
        # A view: what is written into it in the file's layout arrives in ours.
        _fill(row.layout(target), source, parameter.names[layer], row.stored(inner))
        told(target.nbytes)
    return out


def _fill(target: np.ndarray, source: TensorSource, name: str, bounds: Bounds) -> None:
    (start, stop), *others = bounds
    rest = [slice(*bound) for bound in others]
    for rows in blocks(start, stop, target.nbytes // max(1, len(target))):
        read = source.read(name, (rows, *rest))
        copy_cast(target[rows.start - start : rows.stop - start], read)


def _bounds(index: Index, shape: tuple[int, ...]) -> Bounds:
    return tuple(part.indices(size)[:2] for part, size in zip(index, shape, strict=True))


def _sizes(bounds: Bounds) -> list[int]:
    return [stop - start for start, stop in bounds]


def _aligned(sizes: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Empty memory that JAX on the CPU takes over without a copy."""
    num_bytes = math.prod(sizes) * dtype.itemsize
    memory = np.empty(num_bytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + num_bytes].view(dtype).reshape(sizes)
