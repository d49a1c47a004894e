"""Metrics of which option was chosen: outcomes in, sums of distances and of confusions out."""

import functools

import numpy as np

from dvmap_jax.evaluation.distributions import jensen_shannon, shares, wasserstein
from dvmap_jax.evaluation.intervals import ratio
from dvmap_jax.evaluation.metric import Metric, MetricsConfig, Sums, distance_sums, mean_of
from dvmap_jax.evaluation.outcomes import NOBODY, Outcomes


def ordinal_error(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of |i - j|, the options between prediction i and answer j, in steps.

    Of K options in their order; a prediction that could not be read is K - 1 steps off. Where a
    row has several samples, the prediction is their majority vote.
    """
    return mean_of(outcomes, _steps(outcomes))


def ordinal_agreement(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of 1 - |i - j| / (K - 1), of prediction i and answer j among K options.

    A prediction that could not be read agrees with nothing: 0. Where a row has several samples,
    the prediction is their majority vote.
    """
    return mean_of(outcomes, 1 - _steps(outcomes) / (outcomes.ordered - 1))


def macro_f1(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over questions of the mean over options of F1 = 2 t / (p + a).

    t rows have the option predicted and as the answer, p predicted, a as the answer. Options that
    nobody chose and nobody predicted are left out; a prediction that could not be read is of no
    option. A model that always says the same is found out here where accuracy hides it.
    """

    def statistic(true: np.ndarray, predicted: np.ndarray, answered: np.ndarray) -> np.ndarray:
        scores = ratio(2 * true, predicted + answered)  # NaN where no row has the question
        return ratio(np.nan_to_num(scores), answered.sum(axis=-1) > 0)

    return _of_confusions(outcomes, statistic)


def kappa(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over questions of Cohen's kappa, (o - e) / (1 - e), unweighted.

    o is the share of rows that are right and e what predictions and answers of the same shares
    would give by chance. 0 where a question has one answer and one prediction, e being 1. A
    prediction that could not be read is an answer of its own.
    """

    def statistic(true: np.ndarray, predicted: np.ndarray, answered: np.ndarray) -> np.ndarray:
        rows = answered.sum(axis=-1)
        chance = (predicted * answered).sum(axis=-1)  # over rows ** 2, as the rest below
        left = rows**2 - chance
        found = np.divide(
            rows * true.sum(axis=-1) - chance, left, where=left > 0, out=np.zeros(left.shape)
        )
        return ratio(found, rows > 0)

    return _of_confusions(outcomes, statistic)


def wasserstein_predicted(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over pairs of country and question of the distance of predictions from answers.

    Wasserstein-1 between the shares of the options among predictions and among answers, over
    the number of options less one. A prediction that could not be read counts as the option
    farthest from the row's answer.
    """
    return of_cells(outcomes, _predicted_counts(outcomes), part_of_largest(outcomes))


def jensen_shannon_predicted(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over pairs of country and question of the Jensen-Shannon distance, in base 2.

    Between the shares of the options among predictions and among answers. A prediction that
    could not be read counts as the option farthest from the row's answer.
    """
    return of_cells(outcomes, _predicted_counts(outcomes), jensen_shannon)


TABULAR = "tabular baselines on the released corpus"
METRICS = (
    Metric("ordinal_error", "Ordinal error, steps", False, TABULAR, ordinal_error),
    Metric("ordinal_agreement", "Ordinal agreement", True, TABULAR, ordinal_agreement),
    Metric("macro_f1", "Macro F1", True, "scikit-learn's f1_score by question", macro_f1),
    Metric("kappa", "Cohen's kappa", True, "Cohen 1960, by question", kappa),
    Metric(
        "wasserstein", "Wasserstein distance of predictions", False,
        "OpinionQA (Santurkar et al. 2023)", wasserstein_predicted,
    ),
    Metric(
        "jensen_shannon", "Jensen-Shannon distance of predictions", False,
        "GlobalOpinionQA (Durmus et al. 2023)", jensen_shannon_predicted,
    ),
)  # fmt: skip


def of_cells(outcomes: Outcomes, theirs: np.ndarray, distance, answers=None) -> Sums:
    """The mean distance between two sums by country and question, [C, cells * M] each.

    `distance` takes shares of both, [R, cells, M]. A cell in which one has no sum is left out.
    Without `answers`, those of the rows.
    """
    _, sizes = outcomes.cells
    shape = (-1, len(sizes), outcomes.sizes.max())
    answers = answer_counts(outcomes) if answers is None else answers
    width = answers.shape[1]

    def statistic(drawn: np.ndarray) -> np.ndarray:
        first, second = drawn[:, :width].reshape(shape), drawn[:, width:].reshape(shape)
        there = (first.sum(axis=-1) > 0) & (second.sum(axis=-1) > 0)
        found = distance(shares(first), shares(second))
        return ratio(np.where(there, found, 0), there)

    return distance_sums(np.concatenate([theirs, answers], axis=1), statistic)


def part_of_largest(outcomes: Outcomes):
    """Wasserstein-1 of shares of the options of each cell, 0 to 1."""
    _, sizes = outcomes.cells
    return functools.partial(wasserstein, sizes=sizes)


def answer_counts(outcomes: Outcomes) -> np.ndarray:
    """How often each option is the answer, by country and question, [C, cells * M]."""
    return _counted(outcomes, outcomes.answers)


def _predicted_counts(outcomes: Outcomes) -> np.ndarray:
    answers, last = outcomes.answers, outcomes.sizes - 1
    farthest = np.where(answers > last - answers, 0, last)
    chosen = outcomes.predicted
    return _counted(outcomes, np.where(chosen == NOBODY, farthest, chosen))


def _counted(outcomes: Outcomes, chosen: np.ndarray) -> np.ndarray:
    codes, sizes = outcomes.cells
    width = outcomes.sizes.max()
    return outcomes.by(codes * width + chosen, len(sizes) * width)


def _steps(outcomes: Outcomes) -> np.ndarray:
    chosen = outcomes.predicted
    steps = np.abs(chosen - outcomes.answers)
    return np.where(chosen == NOBODY, outcomes.ordered - 1, steps).astype(float)


def _of_confusions(outcomes: Outcomes, statistic) -> Sums:
    """A statistic of how often an option is right, predicted, the answer: [R, questions, M]."""
    _, names = outcomes.questions
    question, width = outcomes.questions[0], int(outcomes.ordered.max())
    size = len(names) * width
    keys = question * width
    right = np.where(outcomes.right > 0, keys + outcomes.answers, NOBODY)
    predicted = np.where(outcomes.predicted == NOBODY, NOBODY, keys + outcomes.predicted)
    counts = [outcomes.by(codes, size) for codes in (right, predicted, keys + outcomes.answers)]

    def of_drawn(drawn: np.ndarray) -> np.ndarray:
        three = drawn.reshape(-1, 3, len(names), width)
        return statistic(three[:, 0], three[:, 1], three[:, 2])

    return Sums(np.concatenate(counts, axis=1), of_drawn)
