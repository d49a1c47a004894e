"""Results that lack something or contradict themselves: a note or an error, no wrong number."""

import json

import numpy as np
import pandas as pd
import pytest

from dvmap_jax.evaluation.distributions import jensen_shannon, shares, wasserstein
from dvmap_jax.evaluation.intervals import IntervalConfig
from dvmap_jax.evaluation.metric import MetricsConfig
from dvmap_jax.evaluation.samples import generated_row
from dvmap_jax.evaluation.suite import accuracy_difference, measure
from dvmap_jax.survey.prompts import gold_completion
from dvmap_jax.survey.synthetic import synthetic_examples

QUICK = MetricsConfig(interval=IntervalConfig(resamples=50), min_rows=1)


def row(place: int, changed: dict) -> dict:
    return {
        "benchmark": "dev",
        "number": place,
        "question_id": "Q49",
        "country": "Japan",
        "archetype": f"people {place // 2}",
        "attributes": {"Gender": "Male" if place % 2 else "Female"},
        "options": ["Low", "Medium", "High"],
        "answer": "Low",
        "predicted": "Low",
        "correct": 1.0,
        "probabilities": [0.6, 0.3, 0.1],
        **changed,
    }


def table(*changes: dict) -> pd.DataFrame:
    return pd.DataFrame([row(place, changed) for place, changed in enumerate(changes)])


WHOLE = table({}, {}, {}, {})


def test_a_failed_call_stays_in_the_denominator():
    failed = {"predicted": None, "correct": 0, "probabilities": None, "failure": "timeout"}
    told = {"correct_lenient": 1.0, "readable": 1.0}
    found = measure(table(told, told, failed, told), config=QUICK)
    values = {name: each.value for name, each in found.metrics.items()}
    assert values["accuracy"] == values["accuracy_lenient"] == values["format"] == 0.75
    assert values["ordinal_error"] == 2 / 4
    assert values["nll"] == pytest.approx(-(3 * np.log(0.6) + np.log(1 / 3)) / 4)
    assert values["wasserstein"] == pytest.approx(1 / 4)  # farthest from Low is High
    assert any("3 of 4 rows have probabilities" in note for note in found.notes)


def test_what_a_column_is_missing_for_is_left_out_and_said():
    bare = WHOLE[["archetype", "correct"]]
    found = measure(bare, config=QUICK)
    assert set(found.metrics) == {"accuracy"}
    said = "\n".join(found.notes)
    assert "brier" in said
    assert "left out, the results have no column 'options'" in said
    found = measure(WHOLE.drop(columns="probabilities"), config=QUICK)
    assert {"macro_f1", "wasserstein"} <= set(found.metrics)
    assert not {"nll", "brier", "calibration_error"} & set(found.metrics)


def test_an_answer_that_is_impossible_has_no_likelihood():
    found = measure(table({}, {"probabilities": [0, 1, 0], "predicted": "Medium"}), config=QUICK)
    assert "nll" not in found.metrics
    assert any("a probability of 0 in 1 of 2 rows" in note for note in found.notes)
    assert found.metrics["brier"].value == pytest.approx((0.4**2 + 0.3**2 + 0.1**2 + 2) / 2)


def test_options_in_another_order_have_no_distance():
    found = measure(table({}, {"options": ["High", "Medium", "Low"]}), config=QUICK)
    assert not {"ordinal_error", "wasserstein", "macro_f1"} & set(found.metrics)
    assert any("in another order" in note for note in found.notes)
    assert {"accuracy", "brier"} <= set(found.metrics)


def test_every_number_is_finite_for_one_row_and_for_unreadable_ones():
    for results in (WHOLE[:1], WHOLE.assign(predicted=None, probabilities=None, correct=0.0)):
        for name, found in measure(results, config=QUICK).metrics.items():
            assert np.isfinite([found.value, found.low, found.high]).all(), name


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        (WHOLE[:0], "the results have no rows"),
        (table({}, {"number": 0}), "benchmark 'dev' row 0 is there twice"),
        (table({}, {"benchmark": "test"}), r"several benchmarks \('dev', 'test'\)"),
        (table({}, {"predicted": "Huge"}), "row 1: predicted 'Huge' is not among the options"),
        (table({}, {"answer": "Yes"}), "row 1: answer 'Yes' is not among the options"),
        (table({}, {"options": ["Low"]}), r"row 1 has the options \('Low',\); give two or more"),
        (table({}, {"options": ["Low"] * 2}), "row 1 has the options"),
        (table({}, {"correct": 2.0}), "row 1: correct is 2.0; it must be a share"),
        (table({}, {"correct": None}), "row 1: correct is nan; it must be a share"),
        (table({}, {"probabilities": [0.5, 0.5]}), "row 1: probabilities are .* give a number"),
        (table({}, {"probabilities": [0.5, 0.6, 0.5]}), "row 1: probabilities add up to 1.6"),
        (table({}, {"probabilities": [np.nan, 0.5, 0.5]}), "row 1: probabilities are"),
        (WHOLE.drop(columns="correct"), "no column 'correct'; they have benchmark, number"),
        (WHOLE.drop(columns="archetype"), "no column 'archetype'"),
    ],
)
def test_results_that_contradict_themselves_are_refused(results, problem):
    with pytest.raises(ValueError, match=problem):
        measure(results, config=QUICK)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (WHOLE[:3], "4 rows with 3, 1 of them without a partner"),
        (WHOLE.assign(benchmark="test"), "row 0 has benchmark 'dev' in one and 'test'"),
        (WHOLE.assign(question_id="Q50"), "row 0 has question_id 'Q49' in one and 'Q50'"),
        (WHOLE.drop(columns="number"), "no column 'number'"),
    ],
)
def test_results_of_other_examples_are_not_paired(other, problem):
    with pytest.raises(ValueError, match=problem):
        accuracy_difference(WHOLE, other)
    with pytest.raises(ValueError, match=problem):
        measure(WHOLE, reference=other, config=QUICK)


def test_distances_are_never_nan():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, size=(500, 2, 4)).astype(float)
    counts[:5] = 0
    first, second = shares(counts[:, 0]), shares(counts[:, 1])
    assert np.isfinite(wasserstein(first, second, np.full(500, 4))).all()
    assert np.isfinite(jensen_shannon(first, second)).all()
    assert jensen_shannon(first, first).max() == 0
    ends = np.eye(4)[[0, 3]]
    assert wasserstein(ends[0], ends[1], np.array(4)) == 1
    assert jensen_shannon(ends[0], ends[1]) == 1


def test_padding_changes_no_distance():
    first, second = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.1, 0.3])
    padded = [np.append(each, [0, 0]) for each in (first, second)]
    assert wasserstein(*padded, 3) == pytest.approx(wasserstein(first, second, 3))
    assert jensen_shannon(*padded) == pytest.approx(jensen_shannon(first, second))


def test_one_option_has_no_distance():
    with pytest.raises(ValueError, match="two or more options"):
        wasserstein(np.ones((1, 1)), np.ones((1, 1)), np.array([1]))


@pytest.mark.parametrize("wrong", [{"saturated": 0}, {"min_rows": 0}, {"bins": 0}], ids=str)
def test_a_config_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MetricsConfig(**wrong)


def test_rows_of_completions_are_measured():
    """Two samples of each example, one of them right, of one example neither readable."""
    examples = synthetic_examples(12, seed=1)
    rows = []
    for number, example in enumerate(examples):
        right = gold_completion(example, template="answer")
        texts = [right, "no idea"] if number else ["no idea", ""]
        where = {"benchmark": "invented", "number": number}
        rows.append(generated_row(example, texts=texts, truncated=[False, True], **where))
    text = "\n".join(json.dumps(each) for each in rows)  # as results.jsonl has them
    found = measure(pd.DataFrame([json.loads(line) for line in text.splitlines()]), config=QUICK)
    values = {name: each.value for name, each in found.metrics.items()}
    share = (len(examples) - 1) / len(examples)
    assert values["accuracy"] == values["format"] == pytest.approx(share / 2)
    assert values["pass_at_k"] == values["majority_vote"] == pytest.approx(share)
    assert values["self_consistency"] == pytest.approx(share / 2)
    assert values["truncated"] == 0.5
    assert {"nll", "brier", "wasserstein", "macro_f1", "disparity/Gender/worst"} <= set(values)
