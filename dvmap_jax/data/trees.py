"""Prompts as trees of tokens: what an archetype's questions share is stored once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

SIZES = tuple(4 * size for n in range(16) for size in (2 << n, 3 << n))  # 8, 12, 16, 24, 32, ...


class TokenRows(NamedTuple):
    """Tokens of one level: N rows below each of B roots, the first `lengths` of each valid."""

    tokens: Int[np.ndarray, "B N T"]
    lengths: Int[np.ndarray, "B N"]


def bucket(length: int) -> int:
    """The smallest padded size that holds `length`: few sizes, so few compiled programs."""
    return next(size for size in SIZES if size >= length)


def pad_rows(rows: Sequence[Sequence[int]], shape: tuple[int, int, int]) -> TokenRows:
    """Rows of tokens in row-major order as one array [B, N, T]; absent rows have length 0."""
    tokens = np.zeros((shape[0] * shape[1], shape[2]), np.int32)
    lengths = np.zeros(shape[0] * shape[1], np.int32)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
        lengths[index] = len(row)
    return TokenRows(tokens.reshape(shape), lengths.reshape(shape[:2]))


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Number of tokens that all rows begin with, leaving at least one of every row."""
    shortest = min(len(row) for row in rows)
    first = np.asarray(rows[0][: shortest - 1])
    same = np.ones(len(first), bool)
    for row in rows[1:]:
        same &= first == np.asarray(row[: shortest - 1])
    return len(first) if same.all() else int(np.argmin(same))


class PromptTree(NamedTuple):
    """The prompts of one root: a trunk (empty where prompts stand alone) and what follows it."""

    trunk: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]


def prompt_tree(prompts: Sequence[Sequence[int]], *, share: bool) -> PromptTree:
    """Splits the tokens of whole prompts after their common prefix; joined they are unchanged."""
    split = common_prefix(prompts) if share else 0
    return PromptTree(tuple(prompts[0][:split]), tuple(tuple(row[split:]) for row in prompts))


def stack_trees(
    trees: Sequence[PromptTree], *, branches: int, sizes: tuple[int, int]
) -> tuple[TokenRows, ...]:
    """Levels of several roots: trunks [B, 1, sizes[0]], then branches [B, N, sizes[1]].

    With sizes[0] = 0 prompts stand alone and there is one level.
    """
    rows = []
    for tree in trees:
        rows += [*tree.branches, *[()] * (branches - len(tree.branches))]
    last = pad_rows(rows, (len(trees), branches, sizes[1]))
    if not sizes[0]:
        return (last,)
    trunks = pad_rows([tree.trunk for tree in trees], (len(trees), 1, sizes[0]))
    return (trunks, last)
