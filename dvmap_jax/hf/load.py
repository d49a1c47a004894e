"""A Hugging Face model folder in, our config and parameters out, tensor by tensor.

Only safetensors are read: they hold numbers and nothing that could run.
"""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from dvmap_jax.hf.names import EMBED, HEAD, Tensor, read_hf_fields, tensors
from dvmap_jax.model.config import DTYPES, ModelConfig
from dvmap_jax.model.transformer import Transformer

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
STORED = ("F64", "F32", "F16", "BF16")


class TensorSource(Protocol):
    """Named tensors of a model in files, read one at a time."""

    def names(self) -> list[str]:
        """Every tensor there is."""

    def where(self, name: str) -> str:
        """The file a tensor lies in, or would lie in; begins error messages."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape, in the layout of Hugging Face, without reading it."""

    def read(self, name: str) -> np.ndarray:
        """Its values, in the layout of Hugging Face."""


class SafetensorsFolder:
    """The tensors of a folder with one safetensors file, or several and an index."""

    def __init__(self, folder: pathlib.Path):
        self._main = folder / (INDEX if (folder / INDEX).is_file() else WEIGHTS)
        self._files = {}
        for path in _weight_files(self._main):
            opened = _open(path)
            self._files |= {name: (path, opened) for name in opened.keys()}  # noqa: SIM118

    def names(self) -> list[str]:
        """Every tensor there is."""
        return list(self._files)

    def where(self, name: str) -> str:
        """The file a tensor lies in, or would lie in."""
        return str(self._files[name][0] if name in self._files else self._main)

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape; ValueError where it is not stored as floating-point numbers."""
        part = self._files[name][1].get_slice(name)
        if part.get_dtype() not in STORED:
            raise ValueError(
                f"{self.where(name)}: tensor {name} is stored as {part.get_dtype()}; supported "
                f"are {', '.join(STORED)}"
            )
        return tuple(part.get_shape())

    def read(self, name: str) -> np.ndarray:
        """Its values."""
        return self._files[name][1].get_tensor(name)


def read_config(folder: str | pathlib.Path) -> ModelConfig:
    """The model a folder's config.json describes; ValueError for what we do not compute."""
    return read_hf_fields(read_json(pathlib.Path(folder) / CONFIG), str(folder))


def load_params(folder: str | pathlib.Path, config: ModelConfig, dtype: str = "float32") -> dict:
    """The parameters in a folder's safetensors, as numpy arrays in the tree `Transformer` uses.

    Raises ValueError naming file and tensor for one that is missing, not the model's, or of
    another shape, and for files that are cut short. A tied head may be stored if it is equal.
    """
    source = SafetensorsFolder(pathlib.Path(folder))
    return assemble(source, config, dtype, pattern="hf")


def assemble(source: TensorSource, config: ModelConfig, dtype: str, *, pattern: str) -> dict:
    """Parameters from tensors named by `pattern` (`hf` or `gguf`), all checked before any is read.

    One tensor at a time is held beside the result.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; it must be one of {DTYPES}")
    whole = Transformer(config).abstract_params(dtype)
    _check_names(source, config, pattern)
    for row in tensors(config):
        _check_shapes(source, row, leaf(whole, row.path).shape, pattern)
    params: dict = {}
    for row in tensors(config):
        shape = leaf(whole, row.path).shape
        put(params, row.path, _read_parameter(source, row, shape, dtype, pattern))
    return params


def leaf(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What lies at `path` in a nested mapping."""
    for key in path:
        tree = tree[key]
    return tree


def put(tree: dict, path: tuple[str, ...], value: Any) -> None:
    """Sets what lies at `path`, making the levels above it."""
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """A JSON object from a file, or an error that names the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a model folder needs it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; it must hold an object")
    return content


def _read_parameter(
    source: TensorSource, row: Tensor, shape: tuple[int, ...], dtype: str, pattern: str
) -> np.ndarray:
    names = row.names(getattr(row, pattern), shape[0])
    out = np.empty(shape, jnp.dtype(dtype))
    for index, name in enumerate(names):
        out[index if row.stacked else ...] = row.layout(source.read(name))
    return out


def _check_names(source: TensorSource, config: ModelConfig, pattern: str) -> None:
    rows = tensors(config)
    wanted = {name for row in rows for name in row.names(getattr(row, pattern), config.num_layers)}
    found = set(source.names())
    for name in sorted(wanted - found):
        raise ValueError(f"{source.where(name)} has no tensor {name}, which the model needs")
    for name in sorted(found - wanted):
        if not _equal_head(source, name, config, pattern):
            raise ValueError(
                f"{source.where(name)} has a tensor {name} that a {config.family} model of "
                f"{config.num_layers} layers does not have"
            )


def _equal_head(source: TensorSource, name: str, config: ModelConfig, pattern: str) -> bool:
    """Whether `name` is a tied head that was stored although it repeats the embedding."""
    if not config.tie_embeddings or name != getattr(HEAD, pattern):
        return False
    return np.array_equal(source.read(name), source.read(getattr(EMBED, pattern)))


def _check_shapes(source: TensorSource, row: Tensor, shape: tuple[int, ...], pattern: str) -> None:
    single = shape[1:] if row.stacked else shape
    due = row.layout(np.broadcast_to(0, single)).shape
    for name in row.names(getattr(row, pattern), shape[0]):
        found = source.shape(name)
        if found != due:
            raise ValueError(
                f"{source.where(name)}: tensor {name} has shape {list(found)}; the model's "
                f"config asks for {list(due)}"
            )


def _weight_files(main: pathlib.Path) -> Iterator[pathlib.Path]:
    """The one file, or the distinct ones an index names."""
    if main.name == WEIGHTS:
        if not main.is_file():
            raise FileNotFoundError(
                f"{main.parent} holds neither {WEIGHTS} nor {INDEX}; other formats are not read"
            )
        yield main
        return
    weight_map = read_json(main).get("weight_map")
    if not isinstance(weight_map, dict) or {type(name) for name in weight_map.values()} != {str}:
        raise ValueError(f"{main}: weight_map must map each tensor to the name of its file")
    for name in sorted(set(weight_map.values())):
        path = main.parent / name
        if path.parent != main.parent or not path.is_file():
            raise ValueError(f"{main} names the file {name!r}, which is not in its folder")
        yield path


def _open(path: pathlib.Path) -> Any:
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({error}); fetch or write it again"
        ) from None
