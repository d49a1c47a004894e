"""Where a run's first parameters come from: a model in any form we know, in; one record, out."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from dvmap_jax.files import whole_folder
from dvmap_jax.hf.gguf import read_gguf
from dvmap_jax.hf.load import CONFIG, load_params, read_config, read_json
from dvmap_jax.model.config import DTYPES, ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.records import from_mapping, to_mapping
from dvmap_jax.train.checkpoints import BEST, TOKENIZER, is_checkpoint, placed, read_checkpoint

RANDOM = "random"
MODEL, PARAMS = "model.json", "params"  # of a model folder in Orbax form


@dataclasses.dataclass(frozen=True)
class WeightsConfig:
    """What a run begins with.

    `source` is "random", a Hugging Face folder, a GGUF file, a run's workdir, one of its steps or
    a model folder in Orbax form. `tokenizer` is a tokenizer folder, "train:1024" to make one of
    that size from the training prompts, or "" for the source's own.
    """

    source: str = RANDOM
    tokenizer: str = ""
    param_dtype: str = "float32"

    def __post_init__(self):
        if not self.source:
            raise ValueError(f"weights.source is empty; it must be {RANDOM!r} or a path")
        if self.param_dtype not in DTYPES:
            raise ValueError(
                f"weights.param_dtype is {self.param_dtype!r}; it must be one of {DTYPES}"
            )


@dataclasses.dataclass(frozen=True)
class Model:
    """A model from files: sizes, parameters, and where its tokenizer is."""

    config: ModelConfig
    params: dict
    tokenizer: pathlib.Path


def load_model(
    source: str | pathlib.Path,
    dtype: str = "float32",
    *,
    step: str = BEST,
    shardings_of: Callable[[ModelConfig], Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> Model:
    """The model at `source`, a path of any form `WeightsConfig` names, with parameters of `dtype`.

    `step` says which of a run's, as `read_checkpoint` explains.
    `shardings_of` gives, from the sizes found, the shardings of the parameters as a tree like
    them; without it they belong to the first device. Each process reads its own shards only.
    `progress` is told how many bytes of them are there, and of how many.
    Raises FileNotFoundError or ValueError naming the path and what is wrong with it.
    """
    path = pathlib.Path(source)
    if not path.exists():
        raise FileNotFoundError(f"model {path} does not exist")
    if path.is_file():
        config, params = read_gguf(path, dtype, shardings_of=shardings_of, progress=progress)
        return Model(config, params, path)
    if is_checkpoint(path):
        saved = read_checkpoint(path, step=step, dtype=dtype, shardings_of=shardings_of)
        _tell_all(saved.params, progress)
        return Model(saved.config, saved.params, saved.tokenizer)
    if (path / MODEL).is_file():
        model = _load_orbax(path.absolute(), dtype, shardings_of)
        _tell_all(model.params, progress)
        return model
    if not (path / CONFIG).is_file():
        raise ValueError(
            f"{path} holds no model; expected {CONFIG}, {MODEL} or a run's checkpoints in it"
        )
    config = read_config(path)
    shardings = None if shardings_of is None else shardings_of(config)
    params = load_params(path, config, dtype, shardings=shardings, progress=progress)
    return Model(config, params, path)


def save_orbax(
    model: Model,
    folder: pathlib.Path,
    *,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> None:
    """Writes a model folder in Orbax form: sizes, parameters and `model.tokenizer`'s files.

    Written beside `folder` and renamed; raises ValueError where `folder` already holds something.
    """
    folder = pathlib.Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} already holds something; name another target or empty it")
    text = json.dumps(to_mapping(model.config), indent=2) + "\n"
    with whole_folder(folder) as draft:
        (draft / MODEL).write_text(text, encoding="utf-8")
        with ocp.StandardCheckpointer() as writer:
            writer.save(draft / PARAMS, jax.tree.map(jnp.asarray, model.params))
        _tell_all(model.params, progress)
        shutil.copytree(model.tokenizer, draft / TOKENIZER)


def _load_orbax(
    folder: pathlib.Path, dtype: str, shardings_of: Callable[[ModelConfig], Any] | None
) -> Model:
    where = folder / MODEL
    config = from_mapping(ModelConfig, read_json(where), str(where))
    if not (folder / PARAMS).is_dir():
        raise FileNotFoundError(f"{folder / PARAMS} does not exist; the model has no parameters")
    wanted = placed(
        Transformer(config).abstract_params(dtype),
        shardings=None if shardings_of is None else shardings_of(config),
    )
    with ocp.StandardCheckpointer() as reader:
        _check_shapes(folder / PARAMS, reader.metadata(folder / PARAMS).item_metadata.tree, wanted)
        params = reader.restore(folder / PARAMS, wanted)
    return Model(config, params, folder / TOKENIZER)


def _check_shapes(where: pathlib.Path, stored: dict, wanted: dict) -> None:
    """Raises ValueError naming the first parameter that is not as the sizes ask for."""
    found = {key: tuple(leaf.shape) for key, leaf in ocp.tree.to_flat_dict(stored).items()}
    due = {key: tuple(leaf.shape) for key, leaf in ocp.tree.to_flat_dict(wanted).items()}
    for key in sorted(found.keys() | due.keys()):
        if found.get(key) != due.get(key):
            raise ValueError(
                f"{where}: {'/'.join(key)} has shape {found.get(key)}, due is {due.get(key)}"
            )


def _tell_all(params: dict, progress: Callable[[int, int], None]) -> None:
    """Says that all is done; Orbax reads and writes a tree as one and says nothing between."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    progress(size, size)
