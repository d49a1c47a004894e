"""Questions and options as trees of tokens laid out in rows: what options share stands once."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from dvmap_jax.data.packing import first_fit
from dvmap_jax.data.trees import TokenRows, common_prefix, pad_rows

STEP = 16  # sizes are padded to multiples of it
LONGEST_ROWS = 4  # times the longest tree
COMPARED = 1024  # keys that a token is compared with and that cost as much as the rest of it
REMEMBERED = 4096  # trees: archetypes are asked the same questions

Tokens = tuple[int, ...]


class OptionTree(NamedTuple):
    """One question and its options, depth first; fields as in `ForestRows`, without padding.

    The last token of an option predicts nothing and is left out, unless another one goes on with
    it. `paths` are the targets that make up each option.
    """

    tokens: Int[np.ndarray, " s"]
    depths: Int[np.ndarray, " s"]
    ends: Int[np.ndarray, " s"]
    places: Int[np.ndarray, " p"]
    targets: Int[np.ndarray, " k"]
    sources: Int[np.ndarray, " k"]
    paths: tuple[Int[np.ndarray, " r"], ...]


class ForestRows(NamedTuple):
    """Trees below each of B roots in N rows of S tokens, as `model.tree.Forest` has them."""

    tokens: Int[np.ndarray, "B N S"]
    depths: Int[np.ndarray, "B N S"]
    ends: Int[np.ndarray, "B N S"]
    places: Int[np.ndarray, "B P"]
    counts: Int[np.ndarray, " B"]
    targets: Int[np.ndarray, "B K"]
    sources: Int[np.ndarray, "B K"]


class Root(NamedTuple):
    """A trunk, empty where there is none, and the trees below it."""

    trunk: Tokens
    trees: tuple[OptionTree, ...]


@dataclasses.dataclass(frozen=True)
class ForestShape:
    """Padded sizes of a root: its trunk, rows and their tokens, states that predict, targets."""

    trunk: int
    rows: int
    size: int
    places: int
    targets: int


@functools.lru_cache(REMEMBERED)
def option_tree(question: Tokens, options: tuple[Tokens, ...]) -> OptionTree:
    """The tree of a question of one token or more and of options that follow it."""
    inner = {row[:end] for row in options for end in range(1, len(row))}
    tokens, depths = list(question), list(range(len(question)))
    ends = [0] * len(question)
    places = [len(question) - 1]
    targets, sources = [], []
    above: list[tuple[int, int]] = []  # of the tokens of the option at hand: target, place or -1
    paths: list = [None] * len(options)
    last: Tokens = ()
    for number in sorted(range(len(options)), key=options.__getitem__):
        row = options[number]
        kept = _same(last, row)
        _close(above[kept:], ends)
        del above[kept:]
        for depth in range(kept, len(row)):
            source = above[-1][1] if above else len(question) - 1
            sources.append(places.index(source))
            targets.append(row[depth])
            place = -1
            if row[: depth + 1] in inner:
                place = len(tokens)
                places.append(place)
                tokens.append(row[depth])
                depths.append(len(question) + depth)
                ends.append(0)
            above.append((len(targets) - 1, place))
        paths[number] = np.array([target for target, _ in above], np.int32)
        last = row
    _close(above, ends)
    ends[: len(question)] = [len(tokens)] * len(question)
    arrays = (np.array(x, np.int32) for x in (tokens, depths, ends, places, targets, sources))
    return OptionTree(*arrays, tuple(paths))


def make_root(
    prompts: Sequence[Tokens], options: Sequence[tuple[Tokens, ...]], *, longest: int | None = None
) -> Root:
    """Prompts that begin alike, and the options of each; the trunk has at most `longest` tokens."""
    split = common_prefix(prompts)
    split = split if longest is None else min(split, longest)
    trees = (option_tree(row[split:], own) for row, own in zip(prompts, options, strict=True))
    return Root(prompts[0][:split], tuple(trees))


def fitting_shape(roots: Sequence[Root]) -> ForestShape:
    """The sizes that hold every root, with rows as long as cost the least.

    A token costs one, and what it is compared with in its row one for `COMPARED` keys.
    """
    lengths = _lengths(roots)
    longest = int(lengths.max())

    def cost(size):
        return _rows(lengths, size) * size * (1 + size / COMPARED)

    sizes = range(padded(longest), padded(LONGEST_ROWS * longest) + 1, STEP)
    size = min(sizes, key=cost)
    places, targets = (
        max(sum(len(getattr(tree, name)) for tree in root.trees) for root in roots)
        for name in ("places", "targets")
    )
    trunk = padded(max(len(root.trunk) for root in roots))
    return ForestShape(trunk, _rows(lengths, size), size, places, targets)


def stack_forest(
    roots: Sequence[Root], shape: ForestShape, *, batch: int
) -> tuple[tuple[TokenRows, ...], ForestRows, list[list[int]]]:
    """`batch` roots, of which those that are absent are empty: trunk level, forest, first targets.

    The trunk level is left out where the shape has none. The last result says for each tree of
    each root where its targets begin among the root's.
    """
    rows = (batch, shape.rows * shape.size)
    tokens, depths = (np.zeros(rows, np.int32) for _ in range(2))
    # A token of padding sees itself alone.
    ends = np.tile(np.arange(1, shape.size + 1, dtype=np.int32), (batch, shape.rows))
    places = np.zeros((batch, shape.places), np.int32)
    targets, sources = (np.zeros((batch, shape.targets), np.int32) for _ in range(2))
    counts, firsts = np.zeros(batch, np.int32), []
    fit = first_fit(_lengths(roots), shape.size)
    for b, root in enumerate(roots):
        place = target = 0
        firsts.append([])
        for tree, row, start in zip(root.trees, fit.rows[b], fit.starts[b], strict=False):
            at = row * shape.size + start
            span = slice(at, at + len(tree.tokens))
            tokens[b, span], depths[b, span], ends[b, span] = (
                tree.tokens,
                tree.depths,
                tree.ends + start,
            )
            places[b, place : place + len(tree.places)] = tree.places + at
            own = slice(target, target + len(tree.targets))
            targets[b, own], sources[b, own] = tree.targets, tree.sources + place
            firsts[-1].append(target)
            place, target = place + len(tree.places), own.stop
        counts[b] = place
    shaped = (x.reshape(batch, shape.rows, shape.size) for x in (tokens, depths, ends))
    forest = ForestRows(*shaped, places, counts, targets, sources)
    if not shape.trunk:
        return (), forest, firsts
    trunks = [root.trunk for root in roots]
    return (pad_rows(trunks, (batch, 1, shape.trunk)),), forest, firsts


def trees_that_fit(root: Root, shape: ForestShape) -> list[int]:
    """Places of trees that a root of this shape holds: all, or the last ones left out."""
    kept = [i for i, tree in enumerate(root.trees) if len(tree.tokens) <= shape.size]
    while not _holds(shape, [root.trees[i] for i in kept]):
        kept.pop()
    return kept


def _holds(shape: ForestShape, trees: Sequence[OptionTree]) -> bool:
    places, targets = (
        sum(len(x) for x in each)
        for each in ([tree.places for tree in trees], [tree.targets for tree in trees])
    )
    rows = _rows(_lengths([Root((), tuple(trees))]), shape.size)
    return rows <= shape.rows and places <= shape.places and targets <= shape.targets


def padded(length: int) -> int:
    """The size that holds so many tokens: few sizes, so few compiled programs."""
    return -(-length // STEP) * STEP


def _lengths(roots: Sequence[Root]) -> Int[np.ndarray, "B G"]:
    most = max(len(root.trees) for root in roots)
    found = np.zeros((len(roots), most), np.int64)
    for row, root in zip(found, roots, strict=True):
        row[: len(root.trees)] = [len(tree.tokens) for tree in root.trees]
    return found


def _rows(lengths: Int[np.ndarray, "B G"], size: int) -> int:
    """Rows of a root that hold its trees."""
    return int(first_fit(lengths, size).rows.max(initial=0, where=lengths > 0)) + 1


def _same(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of tokens that both begin with."""
    pairs = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def _close(nodes: Sequence[tuple[int, int]], ends: list[int]) -> None:
    """Notes where the descendants of tokens end: with the last token so far."""
    for _, place in nodes:
        if place >= 0:
            ends[place] = len(ends)
