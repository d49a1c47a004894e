"""Scoring options: prompts and options in, the log-probability of each option out."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from dvmap_jax.data.forests import (
    ForestRows,
    ForestShape,
    Root,
    Tokens,
    make_root,
    stack_forest,
)
from dvmap_jax.data.trees import TokenRows
from dvmap_jax.model.forest import forest_logprobs
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Forest, Level
from dvmap_jax.sharding import put_rows, read_rows


@dataclasses.dataclass(frozen=True)
class ScoreBatch:
    """Trees of a few roots, and where the tokens of options lie among their targets.

    `numbers` are the questions that are asked, of which each has so many `options`; `lengths` are
    the tokens of each option, and `picks` all of them, counted through the whole batch.
    """

    levels: tuple[TokenRows, ...]
    forest: ForestRows
    numbers: tuple[int, ...]
    options: tuple[int, ...]
    lengths: np.ndarray
    picks: np.ndarray


def option_scorer(model: Transformer):
    """`score(params, levels, forest) -> [B, K]`: log-probabilities of targets, compiled."""

    def score_options(params, levels, forest):
        return forest_logprobs(model, params, levels, forest)

    return jax.jit(score_options)


def option_scores(
    score, params: dict, batch: ScoreBatch
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For each question its number, the log-probability of each option, and their tokens."""
    levels = tuple(Level(*level) for level in batch.levels)
    inputs = put_rows((levels, Forest(*batch.forest)))
    found = read_rows(score(params, *inputs)).astype(np.float64)
    starts = np.cumsum(batch.lengths) - batch.lengths
    sums = np.add.reduceat(found.reshape(-1)[batch.picks], starts)
    ends = np.cumsum(batch.options)
    for number, end, count in zip(batch.numbers, ends, batch.options, strict=True):
        yield number, sums[end - count : end], batch.lengths[end - count : end]


def score_batches(
    roots: Sequence[Root], units: Sequence[Sequence[int]], *, shape: ForestShape, size: int
) -> tuple[ScoreBatch, ...]:
    """`size` roots at a time, those of about as many tokens together.

    `units` are the numbers of each root's questions.
    """
    order = sorted(range(len(roots)), key=lambda i: sum(len(t.places) for t in roots[i].trees))
    parts = (order[start : start + size] for start in range(0, len(order), size))
    return tuple(
        _batch([roots[i] for i in part], [units[i] for i in part], shape, size) for part in parts
    )


def make_roots(
    units: Sequence[Sequence[int]],
    prompts: Sequence[Tokens],
    options: Sequence[tuple[Tokens, ...]],
) -> list[Root]:
    """The root of each unit, whose numbers name its prompts and the options of each."""
    return [make_root([prompts[i] for i in unit], [options[i] for i in unit]) for unit in units]


def _batch(roots, units, shape: ForestShape, size: int) -> ScoreBatch:
    levels, forest, firsts = stack_forest(roots, shape, batch=size)
    paths = [
        [path + first + b * shape.targets for path in tree.paths]
        for b, (root, places) in enumerate(zip(roots, firsts, strict=True))
        for tree, first in zip(root.trees, places, strict=True)
    ]
    flat = [path for own in paths for path in own]
    return ScoreBatch(
        levels=levels,
        forest=forest,
        numbers=tuple(number for unit in units for number in unit),
        options=tuple(len(own) for own in paths),
        lengths=np.array([len(path) for path in flat]),
        picks=np.concatenate(flat),
    )
