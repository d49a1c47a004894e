"""Trees of options in rows: every option can be read back, and nothing is there twice."""

import itertools

import numpy as np
import pytest

from dvmap_jax.data.forests import (
    ForestShape,
    fitting_shape,
    make_root,
    option_tree,
    padded,
    stack_forest,
    trees_that_fit,
)


def test_a_tree_by_hand():
    """Options 1 2 3, 1 2 5 and 9 after the question 7 8; 3, 5 and 9 predict nothing."""
    tree = option_tree((7, 8), ((1, 2, 3), (9,), (1, 2, 5)))
    assert tree.tokens.tolist() == [7, 8, 1, 2]
    assert tree.depths.tolist() == [0, 1, 2, 3] and tree.ends.tolist() == [4, 4, 4, 4]
    assert tree.places.tolist() == [1, 2, 3]
    assert tree.targets.tolist() == [1, 2, 3, 5, 9] and tree.sources.tolist() == [0, 1, 2, 2, 0]
    assert [path.tolist() for path in tree.paths] == [[0, 1, 2], [4], [0, 1, 3]]


def test_siblings_do_not_reach_each_other():
    tree = option_tree((7,), ((1, 2, 3), (4, 5, 6)))
    assert tree.tokens.tolist() == [7, 1, 2, 4, 5] and tree.ends.tolist() == [5, 3, 3, 5, 5]


def test_an_option_that_goes_on_from_another_shares_all_of_it():
    tree = option_tree((7,), ((1, 2), (1, 2, 3), (1, 2)))
    assert tree.tokens.tolist() == [7, 1, 2] and tree.targets.tolist() == [1, 2, 3]
    assert [path.tolist() for path in tree.paths] == [[0, 1], [0, 1, 2], [0, 1]]


@pytest.fixture
def groups():
    """Prompts that begin alike, and options of few tokens, so that many begin alike."""
    rng = np.random.default_rng(0)

    def row(size, of=9):
        return tuple(rng.integers(1, of, size).tolist())

    found = []
    for number in (5, 1, 3):
        trunk = row(6)
        prompts = [trunk + (50 + i,) + row(rng.integers(1, 20)) for i in range(number)]
        options = [tuple(row(rng.integers(1, 7), of=3) for _ in range(4)) for _ in prompts]
        found.append((prompts, options))
    return found


def seen(forest, b, n, place):
    """Tokens that the one at a place of a row sees, itself the last."""
    row, ends = forest.tokens[b, n], forest.ends[b, n]
    return [int(row[t]) for t in range(place + 1) if place < ends[t]]


def test_every_option_follows_its_prompt_token_by_token(groups):
    roots = [make_root(*group) for group in groups]
    shape = fitting_shape(roots)
    (trunk,), forest, firsts = stack_forest(roots, shape, batch=4)
    assert trunk.lengths[:, 0].tolist() == [*(len(root.trunk) for root in roots), 0]
    assert forest.counts.tolist()[3] == 0
    for b, (prompts, options) in enumerate(groups):
        trees = zip(prompts, options, roots[b].trees, firsts[b], strict=True)
        paths = [
            (prompt, option, first + path)
            for prompt, own, tree, first in trees
            for option, path in zip(own, tree.paths, strict=True)
        ]
        for prompt, option, path in paths:
            assert forest.targets[b, path].tolist() == list(option)
            for i, place in enumerate(forest.places[b, forest.sources[b, path]]):
                n, t = divmod(int(place), shape.size)
                above = list(prompt + option[:i])
                assert list(roots[b].trunk) + seen(forest, b, n, t) == above
                assert forest.depths[b, n, t] + len(roots[b].trunk) == len(above) - 1


def test_nothing_is_computed_twice(groups):
    for prompts, options in groups:
        root = make_root(prompts, options)
        for prompt, own, tree in zip(prompts, options, root.trees, strict=True):
            inner = {row[:end] for row in own for end in range(1, len(row))}
            assert len(tree.tokens) == len(prompt) - len(root.trunk) + len(inner)
            assert len(tree.places) == len(inner) + 1
            assert len(tree.targets) == len({row[: i + 1] for row in own for i in range(len(row))})


def test_trees_lie_apart_and_padding_sees_itself_alone(groups):
    roots = [make_root(*group) for group in groups]
    shape = fitting_shape(roots)
    _, forest, _ = stack_forest(roots, shape, batch=3)
    used = forest.tokens > 0
    assert used.sum(axis=(1, 2)).tolist() == [sum(len(t.tokens) for t in r.trees) for r in roots]
    for b, n, t in itertools.product(*map(range, used.shape)):
        if not used[b, n, t]:
            assert seen(forest, b, n, t) == [0]


def test_rows_are_as_long_as_costs_least():
    """Sixteen trees of 60 tokens: in rows of 64 a few are lost, in rows of 240 none."""
    roots = [make_root([(1, i, *[2] * 59) for i in range(16)], [((5,), (6,))] * 16)]
    shape = fitting_shape(roots)
    assert len(roots[0].trees[0].tokens) == 60
    assert shape == ForestShape(trunk=16, rows=16, size=64, places=16, targets=32)
    assert padded(16) == 16 and padded(17) == 32


def test_rows_without_a_trunk():
    root = make_root([(4, 5)], [((1, 2),)])._replace(trunk=())
    levels, forest, _ = stack_forest([root], ForestShape(0, 1, 16, 2, 2), batch=1)
    assert levels == () and forest.tokens[0, 0, :2].tolist() == [5, 1]


def test_a_trunk_is_no_longer_than_asked_and_the_rest_begins_the_trees():
    prompts, options = [(1, 2, 3, 4, 5), (1, 2, 3, 4, 6)], [((7,), (8,))] * 2
    root = make_root(prompts, options, longest=2)
    assert root.trunk == (1, 2) and [t.tokens.tolist() for t in root.trees] == [
        [3, 4, 5],
        [3, 4, 6],
    ]
    assert make_root(prompts, options, longest=9) == make_root(prompts, options)
    assert make_root(prompts[:1], options[:1], longest=3).trees[0].tokens.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        (ForestShape(16, rows=2, size=16, places=9, targets=9), [0, 1, 2, 3]),  # 10 + 6, 9 + 7
        (ForestShape(16, rows=2, size=9, places=9, targets=9), [1, 2]),  # 10 is longer than a row
        (ForestShape(16, rows=1, size=32, places=3, targets=9), [0, 1, 2]),  # one place a tree
        (ForestShape(16, rows=1, size=32, places=9, targets=5), [0, 1]),  # two targets a tree
        (ForestShape(16, rows=1, size=8, places=9, targets=9), [1]),
    ],
)
def test_trees_that_fit_are_all_or_without_the_last(shape, kept):
    """Trees of 10, 6, 9 and 7 tokens, with two options of a token each."""
    prompts = [(i,) * size for i, size in enumerate((10, 6, 9, 7))]
    root = make_root(prompts, [((8,), (9,))] * 4)
    assert [len(tree.tokens) for tree in root.trees] == [10, 6, 9, 7]
    assert trees_that_fit(root, shape) == kept
