"""Metrics of right and wrong: outcomes in, sums of accuracies, disparities and skill out."""

import dataclasses

import numpy as np
import pandas as pd

from dvmap_jax.evaluation.intervals import ratio
from dvmap_jax.evaluation.metric import Metric, MetricsConfig, Sums, mean_of, means_by
from dvmap_jax.evaluation.outcomes import LeftOutError, Outcomes
from dvmap_jax.survey.codebook import NOT_ANSWERED


def accuracy(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of the share of a row's answers that are right.

    Words are right where the last answer block repeats the answer to the letter. What cannot be
    read and a call that failed count as wrong.
    """
    return mean_of(outcomes, outcomes.correct)


def accuracy_lenient(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """The same where the last answer block names the answer and no other option.

    Case, punctuation and other words do not count.
    """
    return mean_of(outcomes, outcomes.share("correct_lenient"))


def accuracy_macro(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over questions of their accuracies: each question counts the same."""
    codes, names = outcomes.questions
    sums = means_by(outcomes, codes, names)
    size = len(names)
    return Sums(sums.columns, lambda drawn: ratio(drawn[:, :size], drawn[:, size:]))


def accuracy_unsaturated(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Accuracy without the questions that nearly everybody answers alike.

    A question is left out where its most frequent answer has a share of `saturated` (.8) of its
    rows or more.
    """
    question, names = outcomes.questions
    answers = np.zeros((len(names), outcomes.sizes.max()))
    np.add.at(answers, (question, outcomes.answers), 1)
    saturated = answers.max(axis=1) >= config.saturated * answers.sum(axis=1)
    if saturated.all():
        raise LeftOutError(f"every question is saturated at {config.saturated}")
    said = ", ".join(name for name, is_so in zip(names, saturated, strict=True) if is_so)
    sums = mean_of(outcomes, outcomes.correct, (~saturated[question]).astype(float))
    return dataclasses.replace(
        sums, note=f"saturated: {said}" if said else "no question is saturated"
    )


def readable(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of the share of completions in which an answer can be read."""
    return mean_of(outcomes, outcomes.share("readable"))


def truncated(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of the share of completions that were cut off."""
    return mean_of(outcomes, outcomes.share("truncated"))


def accuracy_by_country(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Accuracy among the rows of one country."""
    return means_by(outcomes, *outcomes.countries)


def accuracy_by_question(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Accuracy among the rows of one question."""
    return means_by(outcomes, *outcomes.questions)


def disparity_worst(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """The lowest accuracy among the labels of an attribute.

    Labels with fewer than `min_rows` (50) rows, and people who did not answer, are no group. The
    extreme of several noisy accuracies looks worse than the worst group is, more so the smaller
    groups are; so do the ends of its interval.
    """
    return _of_groups(outcomes, config, lambda accuracies: np.fmin.reduce(accuracies, axis=1))


def disparity_spread(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """The highest less the lowest accuracy among the labels of an attribute.

    Labels with fewer than `min_rows` (50) rows, and people who did not answer, are no group. Noise
    alone makes it positive, and its interval does not reach 0.
    """
    return _of_groups(outcomes, config, _spread)


def skill(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Accuracy gained over the country majority, of what it leaves: (a - b) / (1 - b).

    b is the accuracy, on the same rows, of the most frequent answer of the country and question
    in a training split. 0 is no better, 1 is perfect, below 0 is worse.
    """
    theirs = outcomes.reference_correct
    if theirs.all():
        raise LeftOutError("the country majority is right in every row")
    columns = outcomes.sums(outcomes.correct, theirs, np.ones(len(outcomes)))

    def statistic(drawn: np.ndarray) -> np.ndarray:
        ours, majority, rows = drawn.T
        left = rows - majority
        return np.divide(ours - majority, left, where=left > 0, out=np.full(len(left), np.nan))

    return Sums(columns, statistic)


EXACT = "exact match (SQuAD, Rajpurkar et al. 2016)"
METRICS = (
    Metric("accuracy", "Accuracy", True, EXACT, accuracy),
    Metric(
        "accuracy_lenient", "Accuracy, lenient", True,
        "exact match of normalised text (SQuAD, Rajpurkar et al. 2016)", accuracy_lenient,
    ),
    Metric("accuracy/macro", "Accuracy, mean of questions", True, "macro average", accuracy_macro),
    Metric(
        "accuracy/unsaturated", "Accuracy, saturated questions left out", True,
        "the released corpus, where a question has a majority of .886", accuracy_unsaturated,
    ),
    Metric("format", "Readable", True, "the original's format reward", readable),
    Metric("truncated", "Cut off", False, "the sampler's limit of tokens", truncated),
    Metric(
        "accuracy/country/*", "Accuracy in a country", True,
        "subgroup accuracy", accuracy_by_country,
    ),
    Metric(
        "accuracy/question/*", "Accuracy of a question", True,
        "subgroup accuracy", accuracy_by_question,
    ),
    Metric(
        "disparity/*/worst", "Worst group's accuracy", True,
        "worst-group accuracy (Sagawa et al. 2020)", disparity_worst,
    ),
    Metric(
        "disparity/*/spread", "Spread of groups' accuracies", False,
        "accuracy gap between groups", disparity_spread,
    ),
    Metric(
        "skill/country_majority", "Skill over the country majority", True,
        "forecast skill score (Murphy 1988)", skill,
    ),
)  # fmt: skip


def _of_groups(outcomes: Outcomes, config: MetricsConfig, extreme) -> Sums:
    """An extreme of the accuracies of each attribute's labels: [R, labels] to [R]."""
    rows = pd.DataFrame(list(outcomes.column("attributes")))
    parts = {name: _groups(outcomes, rows[name], config.min_rows) for name in rows}
    parts = {name: sums for name, sums in parts.items() if len(sums.labels) > 1}
    if not parts:
        raise LeftOutError(f"no attribute has two labels of {config.min_rows} rows")
    places = np.cumsum([0] + [sums.columns.shape[1] for sums in parts.values()])

    def statistic(drawn: np.ndarray) -> np.ndarray:
        found = [
            extreme(sums.statistic(drawn[:, start:end]))
            for sums, start, end in zip(parts.values(), places[:-1], places[1:], strict=True)
        ]
        return np.stack(found, axis=1)

    columns = np.concatenate([sums.columns for sums in parts.values()], axis=1)
    return Sums(columns, statistic, tuple(parts))


def _groups(outcomes: Outcomes, labels: pd.Series, min_rows: int) -> Sums:
    """Accuracies of an attribute's labels that enough rows have."""
    counts = labels[labels != NOT_ANSWERED].value_counts()
    names = sorted(counts[counts >= min_rows].index)
    codes = pd.Index(names, dtype=object).get_indexer(labels)
    return means_by(outcomes, codes, names)


def _spread(accuracies: np.ndarray) -> np.ndarray:
    return np.fmax.reduce(accuracies, axis=1) - np.fmin.reduce(accuracies, axis=1)
