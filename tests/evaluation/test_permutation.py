"""The permutation test: predictors that use the demographics and such as do not, told apart."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from known_predictors import Known, known_examples
from scipy.stats import binom, permutation_test

from dvmap_jax.evaluation import perturb
from dvmap_jax.evaluation.intervals import IntervalConfig
from dvmap_jax.evaluation.permutation import permutation_test as shuffle_test
from dvmap_jax.evaluation.permutation import sign_flip_p
from dvmap_jax.evaluation.variants import Asking, given

LEVEL = 0.05
SHUFFLES = {"attributes": perturb.shuffled_attributes, "country": perturb.shuffled_country}


def p_values(uses, *, seeds, drawn=0.3, survey=known_examples):
    """p-values of both tests, each seed with another survey, predictor and shuffle."""
    found = {name: [] for name in SHUFFLES}
    for seed in range(seeds):
        examples = survey(seed)
        asking = Asking(Known(uses, drawn, seed), examples, "test", "answer")
        observed = asking("as asked", examples)
        for name, shuffle in SHUFFLES.items():
            after = asking(f"{name} shuffled", shuffle(examples, seed=seed))
            config = IntervalConfig(resamples=399, seed=seed)
            found[name].append(
                shuffle_test(
                    observed.correct, after.correct, clusters=asking.clusters, config=config
                ).difference.p
            )
    return {name: np.array(each) for name, each in found.items()}


def at_most_the_level(p):
    """Whether as many are rejected as the level allows, up to one in a thousand such counts."""
    return (p <= LEVEL).sum() <= binom.ppf(0.999, len(p), LEVEL)


def test_a_predictor_that_ignores_demographics_is_rejected_no_more_than_the_level_says():
    found = p_values((), seeds=200, drawn=1.0)
    assert all(at_most_the_level(each) for each in found.values())
    assert all(each.mean() > 0.44 for each in found.values())  # .5, less 3 errors


def anybodys_answers(seed):
    """A survey in which archetypes have given each other's answers, so that nothing tells them."""
    examples = known_examples(seed)
    others = np.random.default_rng([seed, 1]).permutation(len(examples) // 4)
    return [
        dataclasses.replace(example, answer=examples[4 * others[n // 4] + n % 4].answer)
        for n, example in enumerate(examples)
    ]


def test_a_predictor_that_gains_nothing_by_demographics_is_rejected_no_more_either():
    found = p_values(("country", "stage"), seeds=150, drawn=0.0, survey=anybodys_answers)
    assert all(at_most_the_level(each) for each in found.values())


def test_a_predictor_that_uses_all_is_found_out_by_both_tests():
    found = p_values(("country", "stage"), seeds=40)
    assert all((each <= LEVEL).all() for each in found.values())


@pytest.mark.parametrize(
    ("uses", "right", "other"),
    [("country", "country", "attributes"), ("stage", "attributes", "country")],
)
def test_each_test_finds_only_what_is_used(uses, right, other):
    found = p_values((uses,), seeds=60)
    assert (found[right] <= LEVEL).all()
    assert at_most_the_level(found[other])


def test_a_sure_predictor_that_ignores_what_is_shuffled_is_never_rejected():
    assert (p_values(("country",), seeds=3, drawn=0.0)["attributes"] == 1).all()


def test_p_is_the_share_of_all_signs_and_close_to_scipy():
    totals = np.array([2.0, 1.0, 0.0, 3.0, -1.0, 2.0, 1.0, 0.5])
    signs = np.array(list(itertools.product([-1, 1], repeat=len(totals))))
    exact = (np.abs(signs @ totals) >= totals.sum()).mean()
    theirs = permutation_test(
        (totals, np.zeros_like(totals)), lambda a, b: np.sum(a - b), permutation_type="samples"
    )
    assert exact == pytest.approx(theirs.pvalue)
    error = 4 * np.sqrt(exact * (1 - exact) / 20_000)
    assert sign_flip_p(totals, flips=20_000, seed=0) == pytest.approx(exact, abs=error)
    assert sign_flip_p(-totals, flips=500, seed=1) == sign_flip_p(totals, flips=500, seed=1)


def test_p_is_never_nothing_and_one_without_a_difference():
    assert sign_flip_p(np.ones(60), flips=99, seed=0) == 1 / 100
    assert sign_flip_p(np.zeros(60), flips=99, seed=0) == 1
    assert sign_flip_p(np.zeros(0), flips=99, seed=0) == 1


def test_a_total_that_rounds_differently_is_the_same_total():
    thirds = np.array([1 / 3, 0.1, 0.2, 1 / 7])
    signs = np.array(list(itertools.product([-1, 1], repeat=4)))
    expected = 2 / len(signs)  # all one way or all the other
    assert sign_flip_p(thirds, flips=20_000, seed=0) == pytest.approx(expected, abs=0.01)


def test_the_difference_is_of_rows_and_its_interval_of_archetypes():
    observed, shuffled = np.array([1, 1, 0, 1.0]), np.array([1, 0, 0, 0.0])
    found = shuffle_test(observed, shuffled, clusters=["a", "a", "b", "b"], unchanged=1)
    assert (found.observed, found.shuffled, found.difference.value) == (0.75, 0.25, 0.5)
    assert (found.difference.low, found.difference.high) == (0.5, 0.5)  # one each in both
    assert found.difference.p == pytest.approx(0.5, abs=0.03)  # of four signs two are as far
    assert (found.archetypes, found.unchanged) == (2, 1)


def test_answers_are_paired_by_number_and_a_failed_call_is_wrong():
    rows = [
        {"number": 1, "archetype": "b", "predicted": None, "correct": None, "failure": "timeout"},
        {"number": 0, "archetype": "a", "predicted": "Yes", "correct": 1.0, "failure": None},
    ]
    told = given(pd.DataFrame(rows), 2, "test/x")
    assert told.predicted == ("Yes", None) and told.correct.tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="1 answers to the 2 rows of 'test/x'"):
        given(pd.DataFrame(rows[:1]), 2, "test/x")
    with pytest.raises(ValueError, match="2 answers to the 2 rows"):
        given(pd.DataFrame([rows[0], rows[0]]), 2, "test/x")
