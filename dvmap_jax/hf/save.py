"""Our parameters in, a model folder that `transformers` loads out, complete or not at all."""

import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from dvmap_jax.files import (
    draft_of,
    drop_draft,
    full_disk_named,
    new_draft,
    put_in_place,
    settle,
)
from dvmap_jax.hf.load import CONFIG, INDEX, WEIGHTS, leaf, read_json
from dvmap_jax.hf.names import Tensor, hf_fields, tensors
from dvmap_jax.hf.stream import Entry, write_safetensors
from dvmap_jax.model.config import DTYPES, ModelConfig
from dvmap_jax.processes import all_succeed
from dvmap_jax.sharding import readable

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
    """One tensor of the export: its entry in a file, its row of the table, which layer it is."""

    entry: Entry
    row: Tensor
    layer: int | None


def save_model(
    params: dict,
    config: ModelConfig,
    folder: str | pathlib.Path,
    *,
    dtype: str = "float32",
    max_shard_bytes: int = 5_000_000_000,
    carry_from: str | pathlib.Path | None = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> None:
    """Writes config.json, safetensors (sharded where larger) and what `carry_from` holds.

    Tokenizer, chat template and generation config are carried. Everything is written beside
    `folder` and renamed at the end. Raises ValueError where `folder` already holds anything but
    an earlier export. `progress` is told how many bytes are written, and of how many.

    Where there are several processes, all of them call this, with a `folder` on a file system
    they share. Parameters may be sharded over them: they are gathered one tensor at a time, which
    is all that a host holds. The files are dealt out to the processes, the small ones go to the
    first. The folder is there once all have finished; where one fails, all raise and it is not.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; it must be one of {DTYPES}")
    folder = pathlib.Path(folder).absolute()
    carried = None if carry_from is None else pathlib.Path(carry_from)
    all_succeed(lambda: check_target(folder))
    files = _files(_pieces(params, config, dtype), max_shard_bytes)
    together = functools.partial(_step, folder)
    try:
        together(_by_first, new_draft, folder)
        together(_check_shared, draft_of(folder))
        together(_by_first, _write_small, draft_of(folder), config, dtype, carried)
        _write_weights(params, files, folder, together, progress)
        together(_by_first, _finish, folder, files)
    except BaseException:
        _by_first(drop_draft, folder)
        raise


def _step(folder: pathlib.Path, action: Callable, *arguments: Any) -> None:
    """An action of every process; returns once all have done theirs, raises where one has not."""

    def named() -> None:
        with full_disk_named(folder):
            action(*arguments)

    all_succeed(named)


def _check_shared(draft: pathlib.Path) -> None:
    if not draft.is_dir():
        raise ValueError(
            f"process {jax.process_index()} does not see {draft}, which the first one made; name "
            "a target on a file system that all processes share"
        )


def _by_first(action: Callable, *arguments: Any) -> None:
    if jax.process_index() == 0:
        action(*arguments)


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


def _pieces(params: dict, config: ModelConfig, dtype: str) -> list[Piece]:
    """Every tensor, layer by layer, what is no layer first: a file then holds whole layers."""
    pieces = []
    for row in tensors(config):
        shape = leaf(params, row.path).shape
        stored = row.stored(shape[1:] if row.stacked else shape)
        for layer, name in enumerate(row.names(row.hf, config.num_layers)):
            entry = Entry(name, dtype, stored)
            pieces.append(Piece(entry, row, layer if row.stacked else None))
    return sorted(pieces, key=lambda piece: -1 if piece.layer is None else piece.layer)


def _files(pieces: list[Piece], max_shard_bytes: int) -> dict[str, list[Piece]]:
    """File names and what is in them: as much as it may be, at least one tensor."""
    shards: list[list[Piece]] = [[]]
    size = 0
    for piece in pieces:
        if shards[-1] and size + piece.entry.num_bytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(piece)
        size += piece.entry.num_bytes
    # In a file by name, as the safetensors library has them.
    shards = [sorted(shard, key=lambda piece: piece.entry.name) for shard in shards]
    if len(shards) == 1:
        return {WEIGHTS: shards[0]}
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    return dict(zip(names, shards, strict=True))


def _write_small(
    draft: pathlib.Path, config: ModelConfig, dtype: str, carried: pathlib.Path | None
) -> None:
    if carried is not None:
        _carry(carried, draft)
    _write_json(draft / CONFIG, _config_json(config, dtype, carried))


def _write_weights(
    params: dict,
    files: dict[str, list[Piece]],
    folder: pathlib.Path,
    together: Callable,
    progress: Callable[[int, int], None],
) -> None:
    """Writes the files, each by one process, all gathering what is in it."""
    whole = sum(piece.entry.num_bytes for pieces in files.values() for piece in pieces)
    done, mine = 0, []

    def told(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        progress(done, whole)

    for number, (name, pieces) in enumerate(files.items()):
        own = number % jax.process_count() == jax.process_index()
        mine += [draft_of(folder) / name] if own else []
        together(_write_shard, mine[-1] if own else None, pieces, _gathered(params, pieces, told))
    together(settle, mine)  # only now, so that the disks of all processes work at the same time


def _gathered(params: dict, pieces: list[Piece], told: Callable[[int], None]) -> Iterator[Any]:
    """The pieces one at a time, where this process can read them."""
    for piece in pieces:
        yield readable(leaf(params, piece.row.path), piece.layer)
        told(piece.entry.num_bytes)


def _write_shard(path: pathlib.Path | None, pieces: list[Piece], arrays: Iterator[Any]) -> None:
    """Writes a file, or without a path only takes part in gathering what another process writes."""
    try:
        if path is not None:
            entries = [piece.entry for piece in pieces]
            turned = (piece.row.layout(np.asarray(next(arrays))) for piece in pieces)
            write_safetensors(path, entries, turned)
    finally:
        for _ in arrays:  # also after a failure: the others wait for this process's part
            pass


def _finish(folder: pathlib.Path, files: dict[str, list[Piece]]) -> None:
    """Adds the index where there is something to find, and gives the folder its name."""
    draft = draft_of(folder)
    if len(files) > 1:
        pieces = [(name, piece.entry) for name, inside in files.items() for piece in inside]
        total = sum(entry.num_bytes for _, entry in pieces)
        weight_map = {entry.name: name for name, entry in pieces}
        _write_json(
            draft / INDEX,
            {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
        )
    settle([*draft.iterdir(), draft])
    put_in_place(folder)


def _write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
