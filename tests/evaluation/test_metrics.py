"""Metrics against closed forms and by hand."""

import numpy as np
import pandas as pd
import pytest

from dvmap_jax.evaluation.metrics import accuracy_metrics, mean_interval


def results(correct, **columns) -> pd.DataFrame:
    count = len(correct)
    return pd.DataFrame(
        {
            "archetype": [f"a{i // 2}" for i in range(count)],
            "question_id": ["Q1" if i % 4 else "Q2" for i in range(count)],
            "country": ["Japan" if i < count / 2 else "Egypt" for i in range(count)],
            "correct": correct,
            **columns,
        }
    )


def test_accuracies_by_hand():
    metrics = accuracy_metrics(results([1, 1, 0, 1, 0, 0, 0, 1]))
    assert metrics["accuracy"] == 0.5
    assert metrics["accuracy/macro"] == pytest.approx((3 / 6 + 1 / 2) / 2)
    assert metrics["accuracy/country/Japan"] == 0.75
    assert metrics["accuracy/country/Egypt"] == 0.25
    assert metrics["num_rows"] == 8
    assert metrics["accuracy/low"] <= 0.5 <= metrics["accuracy/high"]


def test_further_shares_are_added_where_measured():
    table = results([1, 0], correct_lenient=[1, 1], truncated=[0, 1], readable=[1, 0])
    metrics = accuracy_metrics(table)
    assert metrics["accuracy_lenient"] == 1
    assert metrics["truncated"] == metrics["readable"] == 0.5
    assert "accuracy_lenient" not in accuracy_metrics(results([1, 0]))


def test_likelihood_and_spread_are_added_where_measured():
    told = {
        "options": [["no", "yes"]] * 4,
        "answer": ["no", "yes"] * 2,
        "predicted": ["no"] * 4,
        "probabilities": [[0.8, 0.2]] * 4,
    }
    metrics = accuracy_metrics(results([1, 0, 1, 0], question_id="Q1", country="Japan", **told))
    assert metrics["nll"] == pytest.approx(-np.log([0.8, 0.2]).mean())
    assert metrics["wasserstein/probabilities"] == pytest.approx(0.8 - 0.5)
    assert metrics["dispersion_retention"] == pytest.approx(0.4 / 0.5)
    assert metrics["dispersion_retention/predicted"] == 0
    assert "over_determination" not in metrics  # nothing is said of the people


def test_missing_column_is_named():
    with pytest.raises(ValueError, match="no column 'country'; they have archetype"):
        accuracy_metrics(results([1, 0]).drop(columns="country"))


def test_interval_of_independent_rows_is_that_of_the_normal():
    values = np.random.default_rng(0).random(2000) < 0.3
    mean, low, high = mean_interval(values, map(str, range(2000)))
    half = 1.96 * np.sqrt(mean * (1 - mean) / 2000)
    assert mean == values.mean()
    # The ends of 2,000 resamples scatter by about 0.03 of the standard error each.
    np.testing.assert_allclose([mean - low, high - mean], half, rtol=0.1)


def test_rows_of_a_cluster_count_as_one():
    values = np.random.default_rng(0).random(200) < 0.5
    names = [f"archetype {i}" for i in range(200)]
    once = mean_interval(values, names)
    assert mean_interval(np.repeat(values, 16), np.repeat(names, 16)) == pytest.approx(once)


def test_clusters_of_unequal_size_weigh_by_their_rows():
    mean, low, high = mean_interval([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert (mean, low, high) == (0.75, 0, 1)


def test_interval_is_seeded_and_of_one_cluster_a_point():
    values, names = [0, 1, 1, 0, 1, 0], list("aabbcc")
    assert mean_interval(values, names) == mean_interval(values, names)
    assert mean_interval([0, 1], ["a", "a"]) == (0.5, 0.5, 0.5)


def test_nothing_has_no_interval():
    with pytest.raises(ValueError, match="0 values and 0 clusters"):
        mean_interval([], [])
