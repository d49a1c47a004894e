"""Baselines by hand, and on the released split against figures computed elsewhere."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dvmap_jax.evaluation.baselines import BASELINES, baseline_results, fit_baseline
from dvmap_jax.evaluation.metrics import accuracy_metrics
from dvmap_jax.survey.corpus import Example, read_examples
from dvmap_jax.survey.splits import split_examples

RELEASED = Path(__file__).parents[3] / "shared" / "dvmap_corpus" / "dev.parquet"


def asked(country: str, question: str, answer: str) -> Example:
    return Example(
        question_id=question,
        country=country,
        attributes=(country, question, answer),
        category="",
        question="",
        options="Low, Medium, High",
        answer=answer,
        frequency=0.5,
    )


TRAIN = [
    asked("Japan", "Q49", "High"),
    asked("Japan", "Q49", "High"),
    asked("Egypt", "Q49", "Low"),
    asked("Egypt", "Q49", "Low"),
    asked("Egypt", "Q49", "Low"),
    asked("Egypt", "Q50", "High"),
    asked("Egypt", "Q50", "Medium"),
]


@pytest.mark.parametrize(
    ("name", "country", "question", "shares"),
    [
        ("uniform", "Japan", "Q49", [1 / 3, 1 / 3, 1 / 3]),
        ("majority_question", "Japan", "Q49", [1, 0, 0]),
        ("majority_question", "Japan", "Q112", [1 / 3, 1 / 3, 1 / 3]),
        ("majority_country_question", "Japan", "Q49", [0, 0, 1]),
        ("majority_country_question", "Egypt", "Q50", [0, 1, 0]),  # a tie: the earlier option
        ("majority_country_question", "Japan", "Q50", [0, 1, 0]),  # unseen: that of the question
        ("majority_country_question", "Brazil", "Q112", [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_shares_by_hand(name, country, question, shares):
    (ours,) = fit_baseline(name, TRAIN).probabilities([asked(country, question, "Low")])
    np.testing.assert_allclose(ours, shares)


def test_correct_is_the_share_on_the_answer():
    heldout = [asked("Japan", "Q49", "High"), asked("Egypt", "Q49", "High")]
    table = baseline_results("majority_country_question", TRAIN, heldout)
    assert table["correct"].tolist() == [1, 0]
    assert table["predicted"].tolist() == ["High", "Low"]
    assert baseline_results("uniform", TRAIN, heldout)["correct"].tolist() == [1 / 3, 1 / 3]


def test_majority_that_is_no_option_of_the_example_is_not_given():
    other = dataclasses.replace(asked("Egypt", "Q49", "Yes"), options="Yes, No")
    (shares,) = fit_baseline("majority_question", TRAIN).probabilities([other])
    assert shares.tolist() == [0.5, 0.5]


def test_unknown_baseline_is_named():
    with pytest.raises(ValueError, match="'majority'; nearest: 'majority_question'"):
        fit_baseline("majority", TRAIN)


@pytest.mark.skipif(not RELEASED.exists(), reason=f"no released corpus at {RELEASED}")
@pytest.mark.parametrize(
    ("name", "low", "high"),
    # 95 % intervals from the released dev to the test split, archetypes resampled: .482-.506 and
    # .527-.554; a fifth of the archetypes scatters by some points more.
    [
        ("uniform", 0.260, 0.266),
        ("majority_question", 0.47, 0.53),
        ("majority_country_question", 0.50, 0.57),
    ],
)
def test_released_split_gives_the_known_figures(name, low, high):
    examples = read_examples(RELEASED)
    accuracies = []
    for seed in range(5):
        splits = split_examples(examples, fraction=0.2, seed=seed)
        table = baseline_results(name, splits.train, splits.cross_demographic)
        accuracies.append(accuracy_metrics(table)["accuracy"])
    assert low < np.mean(accuracies) < high


def test_names_are_those_of_the_commands():
    assert BASELINES == ("uniform", "majority_question", "majority_country_question")
