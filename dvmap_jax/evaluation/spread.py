"""How far answers are spread, and by what: outcomes in, ratios of the model's to the survey's out.

An option's code is its place among the options, 0 to K - 1. An archetype drawn twice does not
differ from itself, so that resamples have too little spread, and too much of it between groups.
Here they add up what each archetype drawn moves the value by, to first order ("nonparametric delta
method", Davison and Hinkley 1997, section 2.7.2).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dvmap_jax.evaluation.beliefs import noted
from dvmap_jax.evaluation.intervals import ratio
from dvmap_jax.evaluation.metric import Metric, MetricsConfig, Sums
from dvmap_jax.evaluation.outcomes import NOBODY, LeftOutError, Outcomes
from dvmap_jax.survey.codebook import NOT_ANSWERED

ROUNDING = 1e-9  # a variance below this is none


@dataclasses.dataclass(frozen=True)
class Moved:
    """A value of each group, [groups], and what each row moves that of its group by, [N]."""

    value: np.ndarray
    by_row: np.ndarray


def dispersion_retention(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over pairs of country and question of p / s, standard deviations of options' codes.

    p is that of the mean of the probabilities, s that of the answers, both over n rows, not n - 1.
    1 is the survey's own spread, less is collapse, more is above it. Pairs whose answers are all
    alike are left out; a row without probabilities counts as an even distribution. Chance lifts
    the value where pairs have few rows: s falls short of the spread that answers are drawn from.
    """
    return noted(outcomes, _retained(outcomes, outcomes.probabilities))


def dispersion_retention_predicted(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """The same where p is the standard deviation of the codes of the options predicted.

    A prediction that could not be read is no option; a pair without any other is left out.
    """
    read = (outcomes.predicted != NOBODY)[:, None]
    return _retained(outcomes, _chosen(outcomes, outcomes.predicted) * read)


def over_determination(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Share of the variance of options' codes that demographics explain, model over survey.

    Both are sums over questions and attributes of epsilon squared, 1 - W / T. W is the sum of
    squares around the means of an attribute's labels over N - L, T that around the question's
    mean over N - 1, for N rows and L labels; the model's are what answers drawn from its
    probabilities have on average. 1 is as among people; above it the model lets demographics
    decide more. People who did not answer are no group, and questions that all answer alike are
    left out; a row without probabilities counts as an even distribution.
    """
    question, _ = outcomes.questions
    sides = _sides(outcomes, outcomes.probabilities)
    attributes = pd.DataFrame(list(outcomes.column("attributes")))
    values, by_row = np.zeros(2), np.zeros((2, len(outcomes)))
    for name in attributes:
        told = attributes[name].where(attributes[name] != NOT_ANSWERED)
        label, _ = pd.factorize(told)
        ours, theirs = (_explained(each, question, label) for each in sides)
        there = ~np.isnan(theirs.value)
        values += [np.nansum(each.value[there]) for each in (ours, theirs)]
        by_row += [each.by_row * there[question] for each in (ours, theirs)]
    if values[1] <= 0:
        raise LeftOutError("demographics explain none of the answers' variance")
    columns = _columns(outcomes, values, by_row)
    return noted(outcomes, Sums(columns, lambda drawn: ratio(drawn[:, :1], drawn[:, 1:])))


RETAINED = "ratio of standard deviations (compared by Bisbee et al. 2024)"
METRICS = (
    Metric(
        "dispersion_retention", "Spread of probabilities over the survey's", True, RETAINED,
        dispersion_retention, best=1.0,
    ),
    Metric(
        "dispersion_retention/predicted", "Spread of predictions over the survey's", True, RETAINED,
        dispersion_retention_predicted, best=1.0,
    ),
    Metric(
        "over_determination", "Over-determination by demographics", False,
        "epsilon squared (Kelley 1935, Okada 2013), model over survey",
        over_determination, best=1.0,
    ),
)  # fmt: skip


def _chosen(outcomes: Outcomes, places: np.ndarray) -> np.ndarray:
    """All shares on one option of each row, [N, M]."""
    return np.eye(outcomes.sizes.max())[places]


def _sides(outcomes: Outcomes, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of shares [N, M] and of answers: a row's sum, mean code and mean square of codes, [N, 3]."""
    _ = outcomes.ordered  # a question's codes must mean the same in all rows
    powers = np.arange(shares.shape[1])[:, None] ** np.arange(3)
    return shares @ powers, _chosen(outcomes, outcomes.answers) @ powers


def _squares(codes: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean square of each row's code around the mean of its group, and the rows of that, [N]."""
    rows, sums = (np.bincount(group, each) for each in codes.T[:2])
    mean = _over(sums, rows)[group]
    share, code, square = codes.T
    return np.nan_to_num(square - 2 * mean * code + mean**2 * share), rows[group]


def _retained(outcomes: Outcomes, shares: np.ndarray) -> Sums:
    """The ratio of standard deviations of shares [N, M] and of the answers, mean over cells."""
    cell, _ = outcomes.cells
    ours, theirs = (_variance(codes, cell) for codes in _sides(outcomes, shares))
    found = _over(np.sqrt(np.maximum(ours.value, 0)), np.sqrt(theirs.value))
    count = np.count_nonzero(~np.isnan(found))
    if not count:
        raise LeftOutError("no country has different answers to a question and readable ones")
    first, second = (np.nan_to_num(_over(each.by_row, each.value[cell])) for each in (ours, theirs))
    by_row = np.nan_to_num(found[cell] * (first - second) / 2) / count
    columns = _columns(outcomes, [np.nansum(found) / count], [by_row])
    return Sums(columns, lambda drawn: drawn)


def _variance(codes: np.ndarray, group: np.ndarray) -> Moved:
    """Of the codes of all rows of a group; NaN where it has none."""
    squares, rows = _squares(codes, group)
    value = _over(np.bincount(group, squares), np.bincount(group, codes[:, 0]))
    return Moved(value, _over(squares - codes[:, 0] * value[group], rows))


def _explained(codes: np.ndarray, question: np.ndarray, label: np.ndarray) -> Moved:
    """Epsilon squared of each question by the labels, of rows that have one; NaN without any."""
    known = label >= 0
    size, by_row = question.max() + 1, np.zeros(len(question))
    codes, question, label = codes[known], question[known], label[known]
    group = np.unique(label * size + question, return_inverse=True)[1]
    within = _mean_square(codes, question, group, size)
    total = _mean_square(codes, question, question, size)
    whole = np.where(total.value > ROUNDING, total.value, 0)
    part = _over(within.value, whole)
    by_row[known] = _over(part[question] * total.by_row - within.by_row, whole[question])
    return Moved(1 - part, np.nan_to_num(by_row))


def _mean_square(codes, question: np.ndarray, group: np.ndarray, size: int) -> Moved:
    """By question, of drawn codes around the means of groups, over rows less groups.

    A row's own draw moves its group's mean towards it, which the second term takes off.
    """
    squares, rows = _squares(codes, group)
    squares -= (codes[:, 2] - codes[:, 1] ** 2) / rows
    first = np.unique(group, return_index=True)[1]
    asked = np.bincount(question, minlength=size)
    freedom = asked - np.bincount(question[first], minlength=size)
    value = _over(np.bincount(question, squares, minlength=size), freedom)
    return Moved(value, _over(squares, freedom[question]) - _over(value, asked)[question])


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, where=below > 0, out=np.full(len(below), np.nan))


def _columns(outcomes: Outcomes, values: Sequence[float], by_row: Sequence[np.ndarray]):
    """By cluster, an equal part of each value and what its rows move that by, [C, values]."""
    return outcomes.sums(*by_row) + np.asarray(values) / outcomes.num_clusters
