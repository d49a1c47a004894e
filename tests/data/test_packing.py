"""Packed completions: none is lost or torn apart, none shares a place, and rows are few."""

import numpy as np
import pytest

from dvmap_jax.data.packing import first_fit, pack_rows, row_numbers, rows_needed


def test_longest_first_into_the_first_row_with_room():
    places = first_fit(np.array([[3, 5, 8, 2, 3]]), 8)
    assert places.rows.tolist() == [[1, 1, 0, 2, 2]]
    assert places.starts.tolist() == [[5, 0, 0, 3, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_packed_tokens_are_those_of_their_branches(seed):
    rng = np.random.default_rng(seed)
    roots, parents, group, size = 3, 2, 5, 7
    lengths = rng.integers(0, size + 1, (roots, parents * group)).astype(np.int32)
    tokens = rng.integers(1, 99, (*lengths.shape, size)).astype(np.int32)
    used = int(first_fit(lengths.reshape(-1, group), size).rows.max()) + 1
    packed = pack_rows(tokens, lengths, group=group, rows=used)
    assert packed.tokens.shape == (roots, parents * used, size)
    assert (packed.ends > 0).sum() == lengths.sum()
    assert (packed.tokens[packed.ends == 0] == 0).all()
    for root, branch in np.ndindex(lengths.shape):
        index = packed.index[root, branch, : lengths[root, branch]]
        ours = tokens[root, branch, : len(index)]
        np.testing.assert_array_equal(packed.tokens[root].reshape(-1)[index], ours)
        np.testing.assert_array_equal(packed.depths[root].reshape(-1)[index], range(len(index)))
        ends = packed.ends[root].reshape(-1)[index]
        assert (ends == (index % size)[-1:] + 1).all()
        assert (index // size // used == branch // group).all()  # below its own parent
        assert len(set(index // size)) <= 1


def test_the_same_lengths_are_packed_alike_whoever_packs_them():
    lengths = np.random.default_rng(0).integers(1, 9, (6, 4))
    whole = first_fit(lengths, 8)
    parts = [first_fit(lengths[own], 8) for own in (slice(0, 2), slice(2, 6))]
    for ours, theirs in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(ours, np.concatenate(theirs))


def test_rows_are_of_few_numbers_and_save_tokens_or_there_are_none():
    assert row_numbers(8) == (2, 4)
    assert row_numbers(2) == (1,)
    ragged = np.array([[8, 1, 1, 1, 1, 1, 1, 1], [4] * 8])
    assert rows_needed(ragged, 8) == 4
    assert rows_needed(np.full((2, 8), 8), 8) == 0
    assert rows_needed(np.zeros((2, 8), int), 8) == 2
