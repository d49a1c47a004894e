"""A Hugging Face model folder in, our config and parameters on their devices out.

Only safetensors are read: they hold numbers and nothing that could run.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from dvmap_jax.hf.names import EMBED, HEAD, read_hf_fields, tensors
from dvmap_jax.hf.place import Index, Parameter, TensorSource, blocks, place
from dvmap_jax.model.config import DTYPES, ModelConfig
from dvmap_jax.model.transformer import Transformer

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
STORED = ("F64", "F32", "F16", "BF16")


@dataclasses.dataclass(frozen=True)
class Stored:
    """Where a tensor lies, and how."""

    path: pathlib.Path
    dtype: str
    shape: tuple[int, ...]


class SafetensorsFolder:
    """The tensors of a folder with one safetensors file, or several and an index."""

    def __init__(self, folder: pathlib.Path):
        self._main = folder / (INDEX if (folder / INDEX).is_file() else WEIGHTS)
        self._parts: dict[str, Stored] = {}
        for path in _weight_files(self._main):
            with _open(path) as opened:
                for name in opened.keys():  # noqa: SIM118
                    part = opened.get_slice(name)
                    self._parts[name] = Stored(path, part.get_dtype(), tuple(part.get_shape()))

    def names(self) -> list[str]:
        """Every tensor there is."""
        return list(self._parts)

    def where(self, name: str) -> str:
        """The file a tensor lies in, or would lie in."""
        return str(self._parts[name].path if name in self._parts else self._main)

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape; ValueError where it is not stored as floating-point numbers."""
        part = self._parts[name]
        if part.dtype not in STORED:
            raise ValueError(
                f"{part.path}: tensor {name} is stored as {part.dtype}; supported are "
                f"{', '.join(STORED)}"
            )
        return part.shape

    def read(self, name: str, index: Index) -> np.ndarray:
        """Its values there.

        An open file is mapped into memory, and every page once read counts as this process's own
        until the file is closed; so it is opened anew each time, which takes half a millisecond.
        """
        with _open(self._parts[name].path) as opened:
            return opened.get_slice(name)[index]


def read_config(folder: str | pathlib.Path) -> ModelConfig:
    """The model a folder's config.json describes; ValueError for what we do not compute."""
    return read_hf_fields(read_json(pathlib.Path(folder) / CONFIG), str(folder))


def load_params(
    folder: str | pathlib.Path,
    config: ModelConfig,
    dtype: str = "float32",
    *,
    shardings: Any = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> dict:
    """The parameters in a folder's safetensors, as jax arrays in the tree `Transformer` uses.

    `shardings`, a tree like the parameters, says where they belong; without it, on this process's
    first device. Each process reads its own shards only, and `progress` is told how many bytes of
    them are there, and of how many.

    Raises ValueError naming file and tensor for one that is missing, not the model's, or of
    another shape, and for files that are cut short. A tied head may be stored if it is equal.
    """
    source = SafetensorsFolder(pathlib.Path(folder))
    return assemble(source, config, dtype, pattern="hf", shardings=shardings, progress=progress)


def assemble(
    source: TensorSource,
    config: ModelConfig,
    dtype: str,
    *,
    pattern: str,
    shardings: Any = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> dict:
    """Parameters from tensors named by `pattern` (`hf` or `gguf`), all checked before any is read.

    A block of one tensor at a time is held beside the result.
    """
    _check_dtype(dtype)
    _check_names(source, config, pattern)
    parameters = _parameters(config, dtype, pattern, shardings)
    for parameter in parameters:
        _check_shapes(source, parameter)
        parameter.check_divides()
    whole = sum(parameter.num_bytes for parameter in parameters)
    done = 0

    def told(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        progress(done, whole)

    params: dict = {}
    for parameter in parameters:
        put(params, parameter.row.path, place(parameter, source, told))
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


def _parameters(config: ModelConfig, dtype: str, pattern: str, shardings: Any) -> list[Parameter]:
    whole = Transformer(config).abstract_params(dtype)
    if shardings is None:
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: here, whole)
    if jax.tree.structure(shardings) != jax.tree.structure(whole):
        raise ValueError(
            f"shardings is the tree {jax.tree.structure(shardings)}; the parameters are "
            f"{jax.tree.structure(whole)}"
        )
    return [
        Parameter(
            row,
            tuple(row.names(getattr(row, pattern), config.num_layers)),
            leaf(whole, row.path).shape,
            jnp.dtype(dtype),
            leaf(shardings, row.path),
        )
        for row in tensors(config)
    ]


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; it must be one of {DTYPES}")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(f"dtype is {dtype!r}, which JAX holds only with JAX_ENABLE_X64=1 set")


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
    embed, shape = getattr(EMBED, pattern), source.shape(name)
    if shape != source.shape(embed):
        return False
    parts = ((rows, slice(0, shape[1])) for rows in blocks(0, shape[0], 8 * shape[1]))
    return all(np.array_equal(source.read(name, part), source.read(embed, part)) for part in parts)


def _check_shapes(source: TensorSource, parameter: Parameter) -> None:
    row, shape = parameter.row, parameter.shape
    due = row.stored(shape[1:] if row.stacked else shape)
    for name in parameter.names:
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
