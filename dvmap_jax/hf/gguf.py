"""A GGUF file in, our config and parameters out."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from dvmap_jax.hf.load import assemble
from dvmap_jax.hf.names import (
    EMBED,
    FAMILIES,
    FIELDS,
    GGUF_ROPE_FACTORS,
    HEAD,
    TENSORS,
    model_config,
)
from dvmap_jax.hf.place import Index
from dvmap_jax.model.config import ModelConfig, RopeScaling
from dvmap_jax.model.layers import rope_frequencies

try:
    import gguf
except ImportError:  # an extra; reading a GGUF file says how to get it
    gguf = None

# Llama 3.1 and 3.2, which differ in the factor alone; GGUF files hold the outcome, not these.
LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 8192}
PLAIN = ("F64", "F32", "F16")


class GGUFTensors:
    """The tensors of a GGUF file, dequantised and in the row order of Hugging Face."""

    def __init__(self, path: pathlib.Path, reader: Any, config: ModelConfig):
        self._path = path
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._tensors.pop(GGUF_ROPE_FACTORS, None)
        rotated = [row for row in TENSORS if row.rotated and config.family == "llama"]
        self._heads = {
            name: getattr(config, row.rotated)
            for row in rotated
            for name in row.names(row.gguf, config.num_layers)
        }

    def names(self) -> list[str]:
        """Every tensor there is."""
        return list(self._tensors)

    def where(self, name: str) -> str:
        """The file."""
        return str(self._path)

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape, slowest axis first."""
        return tuple(int(size) for size in reversed(self._tensors[name].shape))

    def read(self, name: str, index: Index) -> np.ndarray:
        """Its values there, float32 where they were quantised; ValueError for an unknown type."""
        tensor, shape = self._tensors[name], self.shape(name)
        if len(shape) == 1:  # quantised, its bytes are no rows
            return self._values(name, tensor.data)[index]
        rows, *rest = index
        if name in self._heads:
            rows = _unrotated(np.arange(shape[0]), self._heads[name])[rows]
        return self._values(name, tensor.data[rows]).reshape(-1, *shape[1:])[:, *rest]

    def _values(self, name: str, data: np.ndarray) -> np.ndarray:
        kind = self._tensors[name].tensor_type
        if kind.name in PLAIN:
            return data
        try:
            return gguf.quants.dequantize(data, kind)
        except NotImplementedError:
            raise ValueError(
                f"{self._path}: tensor {name} is stored as {kind.name}, which cannot be read"
            ) from None


def read_gguf(
    path: str | pathlib.Path,
    dtype: str = "float32",
    *,
    shardings_of: Callable[[ModelConfig], Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> tuple[ModelConfig, dict]:
    """Config and parameters of a Llama or Qwen3 GGUF file, quantised ones made `dtype`.

    `shardings_of` gives, from the sizes found, what `load_params` takes as `shardings`.
    Raises ValueError naming the file and what is wrong: another architecture, a tensor that is
    missing, extra, of another shape or of a type that cannot be read, or a file cut short.
    """
    path = pathlib.Path(path)
    reader = _open(path)
    config = _config(path, reader)
    source = GGUFTensors(path, reader, config)
    shardings = None if shardings_of is None else shardings_of(config)
    return config, assemble(
        source, config, dtype, pattern="gguf", shardings=shardings, progress=progress
    )


def _open(path: pathlib.Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    if gguf is None:
        raise ValueError(
            f"{path}: reading GGUF needs the package gguf; pip install dvmap-jax[gguf]"
        )
    try:
        return gguf.GGUFReader(path)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a complete GGUF file: {error}") from None


def _config(path: pathlib.Path, reader: Any) -> ModelConfig:
    family = _field(reader, "general.architecture")
    if family not in FAMILIES:
        raise ValueError(
            f"{path}: general.architecture is {family!r}; supported are {', '.join(FAMILIES)}"
        )
    values = {row.ours: _plain(_field(reader, f"{family}.{row.gguf}")) for row in FIELDS}
    shapes = {tensor.name: tensor.shape for tensor in reader.tensors}
    if EMBED.gguf in shapes:
        values["vocab_size"] = int(shapes[EMBED.gguf][-1])
    config = model_config(
        values,
        str(path),
        named={row.ours: f"{family}.{row.gguf}" for row in FIELDS},
        family=family,
        tie_embeddings=HEAD.gguf not in shapes,
    )
    return _with_rope_factors(path, reader, config)


def _field(reader: Any, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()


def _plain(value: Any) -> Any:
    """A float32 as the shortest decimal that means it: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _with_rope_factors(path: pathlib.Path, reader: Any, config: ModelConfig) -> ModelConfig:
    """The config with the stretching whose outcome the file holds as a tensor, if it does."""
    found = [tensor for tensor in reader.tensors if tensor.name == GGUF_ROPE_FACTORS]
    if not found:
        return config
    factors = np.asarray(found[0].data, np.float32)
    scaling = RopeScaling(factor=float(factors.max()), **LLAMA3_ROPE)
    stretched = dataclasses.replace(config, rope_scaling=scaling)
    due = np.asarray(rope_frequencies(config) / rope_frequencies(stretched))
    if factors.shape != due.shape or not np.allclose(factors, due, rtol=1e-4):
        raise ValueError(f"{path}: {GGUF_ROPE_FACTORS} does not hold the factors of Llama 3")
    return stretched


def _unrotated(rows: np.ndarray, num_heads: int) -> np.ndarray:
    """Undoes llama.cpp's order of a head's rows: (first, second half) taken in turns."""
    pairs = rows.reshape(num_heads, -1, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)
