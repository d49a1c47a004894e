"""Intervals over clusters: against closed forms, scipy, and simulated data of known mean."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from dvmap_jax.evaluation import intervals
from dvmap_jax.evaluation.intervals import (
    Interval,
    IntervalConfig,
    cluster_bootstrap,
    cluster_sums,
    ends,
    paired_difference,
    resampled,
)

FEW = IntervalConfig(resamples=500)


def clustered(seed: int, count: int = 120) -> tuple[np.ndarray, list[str]]:
    """Answers that are right with a probability of their cluster's own, .4 on average."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 20, size=count)
    right = np.repeat(rng.beta(1.2, 1.8, size=count), sizes)
    return (rng.random(len(right)) < right).astype(float), np.repeat(np.arange(count), sizes)


def covered(replications: int, config: IntervalConfig, *, rows_alone: bool = False) -> float:
    """Share of simulated data sets whose interval of the mean holds .4."""
    held = 0
    for seed in range(replications):
        values, names = clustered(seed)
        names = range(len(values)) if rows_alone else names
        found = cluster_bootstrap(values, np.ones_like(values), clusters=names, config=config)
        held += found.low <= 0.4 <= found.high
    return held / replications


def macro(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of three questions of true accuracies .2, .5, .8, by cluster; [rows, questions]."""
    rng = np.random.default_rng(seed)
    names = np.repeat(np.arange(200), 6)
    question = rng.integers(3, size=1200)
    shift = np.repeat(rng.uniform(-0.2, 0.2, size=200), 6)
    right = rng.random(1200) < np.array([0.2, 0.5, 0.8])[question] + shift
    asked = np.eye(3)[question]
    return asked * right[:, None], asked, names


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    assert 0.93 <= covered(500, FEW) <= 0.97


def test_an_interval_that_takes_rows_for_independent_does_not():
    assert covered(60, IntervalConfig(resamples=100), rows_alone=True) < 0.85


def test_macro_intervals_hold_the_true_mean_as_often_as_they_say():
    held = 0
    for seed in range(400):
        over, under, names = macro(seed)
        found = cluster_bootstrap(over, under, clusters=names, config=FEW)
        held += found.low <= 0.5 <= found.high
    assert 0.93 <= held / 400 <= 0.97


@pytest.mark.slow
def test_coverage_of_many_simulations():
    """4,000 of them: a share of .95 scatters by .0035."""
    assert 0.93 <= covered(4000, IntervalConfig(resamples=2000)) <= 0.97


def test_agrees_with_scipy_on_clusters_of_one_row():
    values = np.random.default_rng(1).gamma(2, size=200)
    many = IntervalConfig(resamples=50_000)
    ours = cluster_bootstrap(values, np.ones(200), clusters=range(200), config=many)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=50_000, batch=5000, method="percentile", random_state=0
    )
    theirs = theirs.confidence_interval
    # The 2.5th percentile of 50,000 draws scatters by .012 of the standard error, twice here.
    tolerance = 0.06 * values.std() / np.sqrt(200)
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=tolerance)
    assert ours.high == pytest.approx(theirs.high, abs=tolerance)


def test_macro_is_the_mean_of_the_questions_by_hand():
    right = np.array([1, 0, 1, 1])
    asked = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    found = cluster_bootstrap(asked * right[:, None], asked, clusters="aabb")
    assert found.value == pytest.approx((2 / 3 + 1) / 2)
    # Cluster a alone has one question: .5; b alone has both: 1 and 1.
    assert (found.low, found.high) == (0.5, 1)


def test_any_function_of_sums_has_an_interval():
    values, names = clustered(0)

    def odds(over, under):
        return over[:, 0] / (under[:, 0] - over[:, 0])

    mean = cluster_bootstrap(values, np.ones_like(values), clusters=names)
    found = cluster_bootstrap(values, np.ones_like(values), clusters=names, combine=odds)
    expected = [p / (1 - p) for p in (mean.value, mean.low, mean.high)]
    np.testing.assert_allclose([found.value, found.low, found.high], expected, rtol=2e-3)


def test_chunks_change_no_draw(monkeypatch):
    values, names = clustered(0, count=20)
    whole = cluster_bootstrap(values, np.ones_like(values), clusters=names, config=FEW)
    monkeypatch.setattr(intervals, "CHUNK", 170)
    parts = cluster_bootstrap(values, np.ones_like(values), clusters=names, config=FEW)
    assert parts == whole


def test_each_resample_draws_as_many_clusters_as_there_are():
    sums = np.concatenate([np.eye(7), np.ones((7, 1))], axis=1)
    drawn = resampled(sums, lambda each: each, config=IntervalConfig(resamples=4000))
    assert (drawn[:, -1] == 7).all()
    # A cluster is drawn once on average; 4,000 draws of variance 6/7 scatter by .015.
    np.testing.assert_allclose(drawn.mean(axis=0)[:-1], 1, atol=0.06)


def test_ends_are_numpys_quantiles_of_what_is_defined():
    draws = np.random.default_rng(0).random((101, 3))
    draws[::3, 1] = np.nan
    draws[:, 2] = np.nan
    low, high = ends(draws, 0.9)
    there = draws[~np.isnan(draws[:, 1]), 1]
    np.testing.assert_allclose(low[:2], [np.quantile(draws[:, 0], 0.05), np.quantile(there, 0.05)])
    np.testing.assert_allclose(high[:2], [np.quantile(draws[:, 0], 0.95), np.quantile(there, 0.95)])
    assert np.isnan([low[2], high[2]]).all()


def test_sums_are_those_of_each_cluster():
    found = cluster_sums(np.array([[1, 2], [3, 4], [5, 6]]), ["b", "a", "b"])
    assert found.tolist() == [[6, 8], [3, 4]]


def test_difference_of_equal_answers_is_nothing_for_certain():
    values, names = clustered(0)
    found = paired_difference(values, values, clusters=names, config=FEW)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_pairing_finds_what_two_intervals_do_not():
    values, names = clustered(0)
    better = values.copy()
    better[::25] = 1
    found = paired_difference(better, values, clusters=names)
    alone = cluster_bootstrap(values, np.ones_like(values), clusters=names)
    assert found.value == pytest.approx(better.mean() - values.mean())
    assert 0 < found.low < found.value < found.high < alone.high - alone.value
    assert found.p == pytest.approx(2 / 10_001)
    other = paired_difference(values, better, clusters=names)
    assert (other.value, other.low, other.p) == pytest.approx((-found.value, -found.high, found.p))


def test_p_values_of_no_difference_are_even():
    """Of two models that are equally good, one in ten is told apart at the level of .1."""
    found = []
    for seed in range(400):
        values, names = clustered(seed)
        other = np.random.default_rng(seed + 10_000).permutation(values)
        sign = np.random.default_rng(seed + 20_000).choice([-1, 1], 120)[names]
        ours, theirs = np.where(sign > 0, values, other), np.where(sign > 0, other, values)
        found.append(paired_difference(ours, theirs, clusters=names, config=FEW).p)
    # 400 draws of a share of .1 scatter by .015.
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.045)
    assert np.mean(np.array(found) < 0.5) == pytest.approx(0.5, abs=0.075)


def test_one_cluster_has_a_point_for_an_interval():
    assert cluster_bootstrap([0, 1], [1, 1], clusters="aa") == Interval(0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("values", "clusters", "problem"),
    [
        ([], [], "0 values and 0 clusters"),
        ([1.0, 2.0], ["a"], "2 values and 1 clusters"),
        ([1.0, float("nan")], ["a", "b"], r"row 1 is \[nan, 1.0\]; an interval needs finite"),
        ([1.0, 2.0], ["a", None], "row 1 is in no cluster"),
    ],
)
def test_what_has_no_interval_is_said(values, clusters, problem):
    with pytest.raises(ValueError, match=problem):
        cluster_bootstrap(values, np.ones(len(values)), clusters=clusters)


def test_other_rows_are_not_compared():
    with pytest.raises(ValueError, match="2 values are compared with 3"):
        paired_difference([1, 0], [1, 0, 1], clusters="ab")


@pytest.mark.parametrize(
    "wrong", [{"level": 1.0}, {"level": 0}, {"resamples": 0}, {"seed": -1}], ids=str
)
def test_a_config_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        IntervalConfig(**wrong)
