"""Our parameters in, a model folder that `transformers` loads out, complete or not at all."""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from dvmap_jax.files import whole_folder
from dvmap_jax.hf.load import CONFIG, INDEX, WEIGHTS, leaf, read_json
from dvmap_jax.hf.names import Tensor, hf_fields, tensors
from dvmap_jax.model.config import DTYPES, ModelConfig

GENERATION_CONFIG = "generation_config.json"
# Carried along from the folder the model or its tokenizer came from.
CARRIED = (
    GENERATION_CONFIG,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
)
MARK = "exported_by"  # in config.json: what a later export may replace
MAKER = "dvmap_jax"
TOKEN_FIELDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclasses.dataclass(frozen=True)
class Piece:
    """One tensor of the export: its name, its row of the table, and which layer it is."""

    name: str
    row: Tensor
    layer: int
    num_bytes: int


def save_model(
    params: dict,
    config: ModelConfig,
    folder: str | pathlib.Path,
    *,
    dtype: str = "float32",
    max_shard_bytes: int = 5_000_000_000,
    carry_from: str | pathlib.Path | None = None,
) -> None:
    """Writes config.json, safetensors (sharded where larger) and what `carry_from` holds.

    Tokenizer, chat template and generation config are carried. Everything is written beside
    `folder` and renamed at the end. Raises ValueError where `folder` already holds anything but
    an earlier export.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; it must be one of {DTYPES}")
    folder = pathlib.Path(folder).absolute()
    check_target(folder)
    carried = None if carry_from is None else pathlib.Path(carry_from)
    with whole_folder(folder) as draft:
        if carried is not None:
            _carry(carried, draft)
        _write_json(draft / CONFIG, _config_json(config, dtype, carried))
        _write_weights(params, _shards(params, config, dtype, max_shard_bytes), draft, dtype)


def check_target(folder: pathlib.Path) -> None:
    """Raises ValueError where an export into `folder` would overwrite what is not an export."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; the target must be a folder")
    names = sorted(path.name for path in folder.iterdir())
    mine = CONFIG in names and read_json(folder / CONFIG).get(MARK) == MAKER
    foreign = [name for name in names if not mine or not _is_ours(name)]
    if foreign:
        raise ValueError(
            f"{folder} already holds {foreign[0]!r}, which no export of ours wrote; name another "
            "target or empty it"
        )


def _is_ours(name: str) -> bool:
    shard = name.startswith("model-") and name.endswith(".safetensors")
    return shard or name in (CONFIG, WEIGHTS, INDEX, *CARRIED)


def _carry(source: pathlib.Path, draft: pathlib.Path) -> None:
    if not source.is_dir():
        raise FileNotFoundError(f"{source} does not exist; the tokenizer is carried from there")
    for name in CARRIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, draft / name)


def _config_json(config: ModelConfig, dtype: str, carried: pathlib.Path | None) -> dict[str, Any]:
    """The whole config.json; special token ids are those of the generation config carried along."""
    tokens: dict[str, Any] = dict.fromkeys(TOKEN_FIELDS)
    for name in (CONFIG, GENERATION_CONFIG):
        if carried is not None and (carried / name).is_file():
            found = read_json(carried / name)
            tokens |= {key: found[key] for key in TOKEN_FIELDS if found.get(key) is not None}
    # `dtype` is for transformers 5, `torch_dtype` for 4.
    return {**hf_fields(config), **tokens, "dtype": dtype, "torch_dtype": dtype, MARK: MAKER}


def _shards(
    params: dict, config: ModelConfig, dtype: str, max_shard_bytes: int
) -> list[list[Piece]]:
    """Tensors in the order of the model, a shard as large as it may be; at least one a shard."""
    shards: list[list[Piece]] = [[]]
    size = 0
    for piece in _pieces(params, config, dtype):
        if shards[-1] and size + piece.num_bytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(piece)
        size += piece.num_bytes
    return shards


def _pieces(params: dict, config: ModelConfig, dtype: str) -> list[Piece]:
    pieces = []
    for row in tensors(config):
        names = row.names(row.hf, config.num_layers)
        num_bytes = leaf(params, row.path).size * jnp.dtype(dtype).itemsize // len(names)
        pieces += [Piece(name, row, layer, num_bytes) for layer, name in enumerate(names)]
    # Layer by layer, what is no layer first: a shard then holds whole layers.
    return sorted(pieces, key=lambda piece: (piece.row.stacked, piece.layer))


def _write_weights(
    params: dict, shards: list[list[Piece]], draft: pathlib.Path, dtype: str
) -> None:
    if len(shards) == 1:
        _write_shard(params, shards[0], draft / WEIGHTS, dtype)
        return
    files = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for file, pieces in zip(files, shards, strict=True):
        _write_shard(params, pieces, draft / file, dtype)
    total = sum(piece.num_bytes for pieces in shards for piece in pieces)
    pairs = zip(files, shards, strict=True)
    weight_map = {piece.name: file for file, pieces in pairs for piece in pieces}
    _write_json(
        draft / INDEX,
        {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
    )


def _write_shard(params: dict, pieces: list[Piece], path: pathlib.Path, dtype: str) -> None:
    arrays = {}
    for piece in pieces:
        whole = leaf(params, piece.row.path)
        one = np.asarray(whole[piece.layer] if piece.row.stacked else whole)
        arrays[piece.name] = np.ascontiguousarray(piece.row.layout(one).astype(jnp.dtype(dtype)))
    save_file(arrays, path, metadata={"format": "pt"})
    path.chmod((path.parent / CONFIG).stat().st_mode)  # safetensors lets only the owner read


def _write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
