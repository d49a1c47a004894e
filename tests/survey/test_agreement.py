"""Twins, left-out modes and intervals, against plain loops and known cases."""

import collections

import numpy as np
import pytest

from dvmap_jax.survey.agreement import (
    group_counts,
    left_out_hits,
    ratio_of_sums,
    twin_agreements,
)


def people(row):
    return [option for option, count in enumerate(row) for _ in range(count)]


def upper_middle(codes):
    counts = collections.Counter(codes)
    tied = sorted(code for code, n in counts.items() if n == max(counts.values()))
    return tied[len(tied) // 2]


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(1.2, (300, 4))


def test_twins_agree_as_often_as_pairs_of_people(counts):
    expected = [
        sum(a == b for i, a in enumerate(group) for j, b in enumerate(group) if i != j)
        / max(len(group) - 1, 1)
        for group in map(people, counts)
    ]
    np.testing.assert_allclose(twin_agreements(counts.astype(float)), expected, rtol=1e-12)


def test_a_left_out_answer_is_predicted_by_the_mode_of_the_others(counts):
    hits = left_out_hits(counts.astype(float))
    for row, found in zip(counts, hits, strict=True):
        for option in range(4):
            others = people(row)
            if option in others:
                others.remove(option)
                assert found[option] == (bool(others) and upper_middle(others) == option)
            else:
                assert not found[option]


def test_counts_are_summed_over_groups(counts):
    groups = np.arange(300) % 7
    expected = np.stack([counts[groups == group].sum(axis=0) for group in range(7)])
    np.testing.assert_array_equal(group_counts(counts.astype(float), groups, 7), expected)


def test_interval_covers_the_truth_as_often_as_it_says():
    """Clusters of 1 to 9 with a probability of their own: of 1,000 intervals 93 to 97 % cover."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        sizes = rng.integers(1, 10, 150)
        rates = rng.beta(3, 2, 150)  # mean .6
        found = ratio_of_sums(rng.binomial(sizes, rates).astype(float), sizes.astype(float))
        covered += found["low"] <= 0.6 <= found["high"]
    assert 930 <= covered <= 970


def test_groups_without_a_denominator_do_not_count():
    with_empty = ratio_of_sums(np.array([1.0, 2, 0]), np.array([2.0, 2, 0]))
    assert with_empty == ratio_of_sums(np.array([1.0, 2]), np.array([2.0, 2]))
    assert with_empty["value"] == 0.75
    assert ratio_of_sums(np.zeros(2), np.zeros(2)) == {"value": None, "low": None, "high": None}
