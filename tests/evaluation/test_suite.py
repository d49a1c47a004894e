"""The suite on random results against scikit-learn and scipy; by hand what they lack."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from sklearn.metrics import brier_score_loss, cohen_kappa_score, f1_score, log_loss

from dvmap_jax.evaluation.beliefs import pass_at
from dvmap_jax.evaluation.intervals import IntervalConfig
from dvmap_jax.evaluation.metric import MetricsConfig
from dvmap_jax.evaluation.suite import METRICS, accuracy_difference, measure, metric_of
from dvmap_jax.evaluation.twins import twin_agreement

QUICK = MetricsConfig(interval=IntervalConfig(resamples=200), min_rows=5)
OPTIONS = {"Q1": ["a", "b", "c", "d"], "Q2": ["low", "middle", "high"], "Q3": list("vwxyz")}


def random_results(seed: int = 0, rows: int = 600) -> pd.DataFrame:
    """Answers and probabilities of no model: each archetype is of one country."""
    rng = np.random.default_rng(seed)
    table = []
    for number in range(rows):
        archetype, question = int(rng.integers(60)), f"Q{rng.integers(1, 4)}"
        options = OPTIONS[question]
        shares = rng.dirichlet(np.ones(len(options)))
        answer = options[min(int(rng.geometric(0.5)) - 1, len(options) - 1)]
        predicted = options[int(np.argmax(shares))]
        table.append(
            {
                "benchmark": "dev",
                "number": number,
                "question_id": question,
                "country": f"country {archetype % 4}",
                "archetype": f"people {archetype}",
                "attributes": {"Gender": "Male" if archetype % 2 else "Female", "Age": "Old"},
                "options": options,
                "answer": answer,
                "predicted": predicted,
                "correct": float(predicted == answer),
                "probabilities": shares.tolist(),
                "answer_counts": rng.integers(0, 4, len(options)).tolist(),
            }
        )
    return pd.DataFrame(table)


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    return random_results()


@pytest.fixture(scope="module")
def measured(results):
    return measure(results, config=QUICK)


def value(results: pd.DataFrame, name: str, **changed) -> float:
    """One metric's value, after columns were changed."""
    return measure(results.assign(**changed), config=QUICK, names=[name]).metrics[name].value


def by_question(results: pd.DataFrame, score) -> float:
    """The mean over questions of a score of answers and predictions."""
    parts = results.groupby("question_id")
    return np.mean([score(part["answer"], part["predicted"]) for _, part in parts])


def by_cell(results: pd.DataFrame, first: str, distance, second: str = "answer") -> float:
    """The mean over countries and questions of a distance of mean shares."""
    found = []
    for (_, question), part in results.groupby(["country", "question_id"]):
        options = OPTIONS[question]
        found.append(distance(*(mean_shares(part[name], options) for name in (first, second))))
    return np.mean(found)


def mean_shares(column: pd.Series, options: list[str]) -> np.ndarray:
    if isinstance(column.iloc[0], str):
        return np.array([(column == option).mean() for option in options])
    rows = np.array([row for row in column if sum(row)], float)
    return (rows / rows.sum(axis=1, keepdims=True)).mean(axis=0)


def normalised(first: np.ndarray, second: np.ndarray) -> float:
    places = np.arange(len(first))
    return wasserstein_distance(places, places, first, second) / (len(first) - 1)


def distance_in_bits(first: np.ndarray, second: np.ndarray) -> float:
    return jensenshannon(first, second, base=2)


def test_agreement_is_scikit_learns(results, measured):
    expected = {
        "accuracy": (results["answer"] == results["predicted"]).mean(),
        "accuracy/macro": by_question(results, lambda a, p: (a == p).mean()),
        "macro_f1": by_question(results, lambda a, p: f1_score(a, p, average="macro")),
        "kappa": by_question(results, cohen_kappa_score),
    }
    found = {name: measured.metrics[name].value for name in expected}
    assert found == pytest.approx(expected)


def test_losses_are_scikit_learns(results, measured):
    brier, surprise = 0.0, 0.0
    for question, part in results.groupby("question_id"):
        answers = [OPTIONS[question].index(answer) for answer in part["answer"]]
        shares, labels = np.array(part["probabilities"].tolist()), range(len(OPTIONS[question]))
        surprise += len(part) * log_loss(answers, shares, labels=labels)
        for place in labels:
            right = (np.array(answers) == place).astype(int)
            brier += len(part) * brier_score_loss(right, shares[:, place])
    assert measured.metrics["nll"].value == pytest.approx(surprise / len(results))
    assert measured.metrics["brier"].value == pytest.approx(brier / len(results))


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("", "predicted", "answer"),
        ("/probabilities", "probabilities", "answer"),
    ],
)
def test_distances_are_scipys(results, measured, name, first, second):
    expected = by_cell(results, first, normalised)
    assert measured.metrics[f"wasserstein{name}"].value == pytest.approx(expected)
    expected = by_cell(results, first, distance_in_bits)
    assert measured.metrics[f"jensen_shannon{name}"].value == pytest.approx(expected)


def test_distances_from_respondents_are_scipys(results, measured):
    known = results[results["answer_counts"].map(sum) > 0]
    for name, distance in (("wasserstein", normalised), ("jensen_shannon", distance_in_bits)):
        expected = by_cell(known, "probabilities", distance, "answer_counts")
        assert measured.metrics[f"soft/{name}"].value == pytest.approx(expected)
    losses = [
        -np.dot(np.array(counts) / sum(counts), np.log(shares))
        for counts, shares in zip(known["answer_counts"], known["probabilities"], strict=True)
    ]
    assert measured.metrics["soft/cross_entropy"].value == pytest.approx(np.mean(losses))
    assert any("have answer_counts; the rest is left out" in note for note in measured.notes)


def test_calibration_error_by_bins(results, measured):
    confidence = results["probabilities"].map(max)
    expected = 0.0
    for low in np.arange(10) / 10:
        part = results[(confidence > low) & (confidence <= low + 0.1)]
        if len(part):
            gap = part["probabilities"].map(max).mean() - part["correct"].mean()
            expected += len(part) / len(results) * abs(gap)
    assert measured.metrics["calibration_error"].value == pytest.approx(expected)


def test_calibration_error_by_hand():
    table = random_results(rows=4).assign(
        question_id="Q2",
        options=[OPTIONS["Q2"]] * 4,
        answer="low",
        predicted=["low", "low", "high", "low"],
        probabilities=[[0.8, 0.2, 0], [0.8, 0, 0.2], [0.1, 0.1, 0.8], [0.5, 0.25, 0.25]],
    )
    # Three of confidence .8 and accuracy 2/3, one of .5 and 1.
    assert value(table, "calibration_error") == pytest.approx(3 / 4 * (0.8 - 2 / 3) + 1 / 4 * 0.5)


def test_ordinal_distances_by_hand():
    table = random_results(rows=3).assign(
        question_id=["Q1", "Q1", "Q2"],
        options=[OPTIONS["Q1"], OPTIONS["Q1"], OPTIONS["Q2"]],
        answer=["a", "d", "low"],
        predicted=["c", "d", "middle"],
    )
    assert value(table, "ordinal_error") == pytest.approx((2 + 0 + 1) / 3)
    assert value(table, "ordinal_agreement") == pytest.approx((1 / 3 + 1 + 1 / 2) / 3)
    unread = table.assign(predicted=[None, "d", "middle"])
    assert value(unread, "ordinal_error") == pytest.approx((3 + 0 + 1) / 3)
    assert value(unread, "ordinal_agreement") == pytest.approx((0 + 1 + 1 / 2) / 3)


def test_unsaturated_leaves_out_what_nearly_all_answer_alike():
    table = random_results(rows=20).assign(
        question_id=["Q1"] * 10 + ["Q2"] * 10,
        options=[OPTIONS["Q1"]] * 10 + [OPTIONS["Q2"]] * 10,
        answer=["a"] * 8 + ["b", "c"] + ["low"] * 7 + ["high"] * 3,
        predicted=["a"] * 10 + ["low"] * 10,
        correct=[1.0] * 8 + [0.0] * 2 + [1.0] * 7 + [0.0] * 3,
    )
    found = measure(table, config=QUICK, names=["accuracy/unsaturated"])
    assert found.metrics["accuracy/unsaturated"].value == 0.7
    assert found.notes == ["accuracy/unsaturated: saturated: Q1"]
    alike = measure(
        table, config=MetricsConfig(saturated=0.7), names=["accuracy", "accuracy/unsaturated"]
    )
    assert "accuracy/unsaturated" not in alike.metrics
    assert alike.notes == ["accuracy/unsaturated: left out, every question is saturated at 0.7"]


def test_a_constant_has_no_agreement_beyond_chance(results):
    assert value(results, "kappa", predicted=[o[0] for o in results["options"]]) == 0
    same = {"predicted": results["options"].str[0], "answer": results["options"].str[0]}
    assert value(results, "kappa", **same) == 0
    assert value(results, "macro_f1", **same) == 1


def test_disparity_is_that_of_the_groups(results, measured):
    accuracies = [
        results[results["attributes"].map(lambda each, g=g: each["Gender"] == g)]["correct"].mean()
        for g in ("Male", "Female")
    ]
    assert measured.metrics["disparity/Gender/worst"].value == pytest.approx(min(accuracies))
    spread = max(accuracies) - min(accuracies)
    assert measured.metrics["disparity/Gender/spread"].value == pytest.approx(spread)
    assert "disparity/Age/spread" not in measured.metrics  # all are old


def test_people_who_did_not_answer_are_no_group(results):
    unanswered = [
        {"Gender": "Not Answered" if row % 3 else "Male", "Age": "Young" if row % 2 else "Old"}
        for row in range(len(results))
    ]
    found = measure(results.assign(attributes=unanswered), config=QUICK).metrics
    assert "disparity/Age/worst" in found
    assert "disparity/Gender/worst" not in found


def test_accuracies_of_countries_and_questions(results, measured):
    for column, place in (("country", "country"), ("question_id", "question")):
        for label, accuracy in results.groupby(column)["correct"].mean().items():
            found = measured.metrics[f"accuracy/{place}/{label}"]
            assert found.value == pytest.approx(accuracy)
            assert found.low < accuracy < found.high


def test_skill_is_of_what_the_reference_leaves(results):
    theirs = results.assign(correct=[1.0, 0.0] * (len(results) // 2))
    shuffled = theirs.sample(frac=1, random_state=0)
    found = measure(results, reference=shuffled, config=QUICK).metrics["skill/country_majority"]
    ours = results["correct"].mean()
    assert found.value == pytest.approx((ours - 0.5) / 0.5)
    assert found.low < found.value < found.high
    same = measure(theirs, reference=theirs, config=QUICK).metrics["skill/country_majority"]
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_twins_by_hand():
    counts = np.array([[1, 1, 0], [2, 0, 0], [2, 1, 0], [1, 0, 0], [0, 0, 0], [3, 3, 1]], float)
    # 2 and 1: of the two each has one of either left, so half; the one faces two others. 3 and 3
    # and 1: each of the threes faces two of its own and three others; the one faces a draw.
    np.testing.assert_allclose(twin_agreement(counts)[:3], [0, 1, 2 / 3 * 1 / 2])
    assert np.isnan(twin_agreement(counts)[3:5]).all()
    assert twin_agreement(counts)[5] == 0


def test_share_of_the_ceiling_is_over_rows_of_two_people_or_more():
    table = random_results(rows=3).assign(
        question_id="Q2",
        options=[OPTIONS["Q2"]] * 3,
        answer="low",
        predicted=["low", "high", "low"],
        correct=[1.0, 0.0, 1.0],
        answer_counts=[[2, 1, 0], [3, 0, 0], [1, 0, 0]],
    )
    assert value(table, "ceiling/twin") == pytest.approx((1 / 3 + 1) / 2)
    assert value(table, "ceiling/share") == pytest.approx((1 / 2) / (2 / 3))
    weighted = table.assign(answer_counts=[[1.5, 1, 0]] * 3)
    found = measure(weighted, config=QUICK, names=["accuracy", "ceiling/share"])
    assert "answer_counts are weighted" in found.notes[0]


def test_samples_by_hand():
    table = random_results(rows=3).assign(
        question_id="Q2",
        options=[OPTIONS["Q2"]] * 3,
        answer="low",
        predicted=["low", "high", None],
        predictions=[["low", "low", None, "high"], ["high", None, "high", "low"], [None] * 4],
        correct=[2 / 4, 1 / 4, 0],
        probabilities=[[2 / 3, 0, 1 / 3], [1 / 3, 0, 2 / 3], None],
    )
    assert value(table, "pass_at_k") == pytest.approx(2 / 3)
    assert value(table, "majority_vote") == pytest.approx(1 / 3)
    assert value(table, "self_consistency") == pytest.approx((2 / 4 + 2 / 4 + 0) / 3)
    expected = -np.log([3 / 6, 2 / 6, 1 / 3]).mean()
    assert value(table, "nll") == pytest.approx(expected)


def test_chance_of_a_right_sample_is_unbiased():
    assert pass_at(np.array([0, 1, 4]), 4, 4).tolist() == [0, 1, 1]
    np.testing.assert_allclose(pass_at(np.array([0, 1, 3]), 4, 1), [0, 1 / 4, 3 / 4])
    # One right among four, two drawn: all but 3 of the 6 pairs.
    assert pass_at(np.array([1]), 4, 2)[0] == pytest.approx(1 - 3 / 6)
    with pytest.raises(ValueError, match="k is 5; it must be from 1 to the 4 samples"):
        pass_at(np.array([1]), 4, 5)


def test_the_difference_of_two_models_is_paired(results):
    better = results.assign(correct=np.maximum(results["correct"], [1.0, 0.0] * 300))
    shuffled = better.sample(frac=1, random_state=0)
    found = accuracy_difference(shuffled, results)
    expected = better["correct"].mean() - results["correct"].mean()
    assert found.value == pytest.approx(expected)
    assert 0 < found.low < found.value < found.high


def test_every_metric_says_what_it_is():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.title
        assert metric.source
        assert len(metric.formula) > 20
    assert metric_of("accuracy/country/Japan") is METRICS["accuracy/country/*"]
    assert metric_of("disparity/Life Stage/worst") is METRICS["disparity/*/worst"]
    with pytest.raises(ValueError, match="no metric is called 'accurary'"):
        metric_of("accurary")
