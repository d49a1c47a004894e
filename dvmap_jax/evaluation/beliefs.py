"""Metrics of probabilities and of several samples: outcomes in, sums of losses and shares out."""

import dataclasses

import numpy as np

from dvmap_jax.evaluation.distributions import jensen_shannon, shares
from dvmap_jax.evaluation.metric import Metric, MetricsConfig, Sums, distance_sums, mean_of
from dvmap_jax.evaluation.ordinal import of_cells, part_of_largest
from dvmap_jax.evaluation.outcomes import NOBODY, LeftOutError, Outcomes


def nll(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of -log p, p the probability of the answer, in nats.

    Where rows were answered in words, p = (v + 1) / (n + K): v of n samples that could be read
    name the answer, of K options (Laplace's rule of succession), so that it is finite. Elsewhere
    it is left out where a p is 0. A row without probabilities counts as an even distribution.
    """
    answers = np.eye(outcomes.sizes.max())[outcomes.answers]
    return noted(outcomes, mean_of(outcomes, _surprise(outcomes, answers)))


def brier(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of the sum over options of (p - y) ** 2, y being 1 for the answer.

    From 0 to 2. A row without probabilities counts as an even distribution.
    """
    answers = np.eye(outcomes.sizes.max())[outcomes.answers]
    losses = ((outcomes.probabilities - answers) ** 2).sum(axis=1)
    return noted(outcomes, mean_of(outcomes, losses))


def calibration_error(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of |c - a| of their bin: mean confidence c and accuracy a of the prediction.

    Confidence is the probability of the option predicted, in 10 bins of equal width, the upper
    end belonging to a bin. A row without probabilities is wrong with the confidence of an even
    distribution. Noise alone makes it positive, the more so the fewer rows a bin has.
    """
    chosen = outcomes.predicted
    confidence = outcomes.probabilities[np.arange(len(outcomes)), np.maximum(chosen, 0)]
    confidence = np.where(chosen == NOBODY, 1 / outcomes.sizes, confidence)
    # Rounding must not lift a confidence of .3 into the bin above .3.
    bins = np.clip(np.ceil(confidence * config.bins - 1e-9).astype(int) - 1, 0, config.bins - 1)
    gaps = outcomes.by(bins, config.bins, confidence - outcomes.right)
    rows = outcomes.by(None, 1)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        return np.abs(drawn[:, :-1]).sum(axis=1) / drawn[:, -1]

    return noted(outcomes, distance_sums(np.concatenate([gaps, rows], axis=1), statistic))


def wasserstein_probabilities(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over pairs of country and question of the distance of mean probabilities from answers.

    Wasserstein-1 between the mean of the probabilities and the shares of the answers, over the
    number of options less one. A row without probabilities counts as an even distribution.
    """
    believed = _by_cell(outcomes, outcomes.probabilities)
    return noted(outcomes, of_cells(outcomes, believed, part_of_largest(outcomes)))


def jensen_shannon_probabilities(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over pairs of country and question of the Jensen-Shannon distance, in base 2.

    Between the mean of the probabilities and the shares of the answers. A row without
    probabilities counts as an even distribution.
    """
    believed = _by_cell(outcomes, outcomes.probabilities)
    return noted(outcomes, of_cells(outcomes, believed, jensen_shannon))


def soft_wasserstein(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over pairs of country and question of the distance from the respondents' answers.

    Wasserstein-1, over the number of options less one, between the means over archetypes of the
    probabilities and of the shares of each option among the archetype's respondents.
    """
    return _soft(outcomes, part_of_largest(outcomes))


def soft_jensen_shannon(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over pairs of country and question of the Jensen-Shannon distance, in base 2.

    Between the means over archetypes of the probabilities and of the shares of each option among
    the archetype's respondents.
    """
    return _soft(outcomes, jensen_shannon)


def soft_cross_entropy(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of the sum over options of -s log p, in nats.

    s is the share of the option among the archetype's respondents, p its probability as in nll.
    Its least value is the mean entropy of those shares, not 0.
    """
    known = outcomes.respondents.sum(axis=1) > 0
    losses = _surprise(outcomes, shares(outcomes.respondents))
    sums = mean_of(outcomes, losses, known.astype(float))
    return dataclasses.replace(sums, note=_about(known, "have answer_counts; the rest is left out"))


def pass_at_k(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of 1 - C(n - c, k) / C(n, k), with c of n samples right.

    k is n, the samples of a row: whether any of them is right. (At k = 1 it is the accuracy.)
    """
    drawn = outcomes.samples
    right = (drawn == outcomes.answers[:, None]).sum(axis=1)
    size = drawn.shape[1]
    return dataclasses.replace(mean_of(outcomes, pass_at(right, size, size)), note=f"k is {size}")


def majority_vote(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Share of rows in which the option that most samples name is the answer.

    Of equal ones the earliest drawn is taken; rows without a readable sample are wrong.
    """
    _ = outcomes.samples  # without several there is no vote
    return mean_of(outcomes, outcomes.right)


def self_consistency(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of the share of all samples that name the option that most name.

    A sample that could not be read names none.
    """
    return mean_of(outcomes, _votes(outcomes).max(axis=1) / outcomes.samples.shape[1])


def pass_at(right: np.ndarray, samples: int, k: int) -> np.ndarray:
    """Chance that k of the samples, drawn without replacement, hold one of the `right` [N] ones.

    Unbiased for the chance of a right one in k (Chen et al. 2021, which gives the product).
    Raises ValueError where k is not from 1 to `samples`.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k is {k}; it must be from 1 to the {samples} samples of a row")
    wrong = samples - np.asarray(right)[:, None]
    places = np.arange(k)
    return 1 - np.prod(np.maximum(wrong - places, 0) / (samples - places), axis=1)


METRICS = (
    Metric("nll", "Negative log-likelihood, nats", False, "log score (Good 1952)", nll),
    Metric("brier", "Brier score", False, "Brier 1950, all options", brier),
    Metric(
        "calibration_error", "Calibration error", False, "ECE (Guo et al. 2017)", calibration_error
    ),
    Metric(
        "wasserstein/probabilities", "Wasserstein distance of probabilities", False,
        "OpinionQA (Santurkar et al. 2023)", wasserstein_probabilities,
    ),
    Metric(
        "jensen_shannon/probabilities", "Jensen-Shannon distance of probabilities", False,
        "GlobalOpinionQA (Durmus et al. 2023)", jensen_shannon_probabilities,
    ),
    Metric(
        "soft/wasserstein", "Wasserstein distance from respondents", False,
        "OpinionQA (Santurkar et al. 2023)", soft_wasserstein,
    ),
    Metric(
        "soft/jensen_shannon", "Jensen-Shannon distance from respondents", False,
        "GlobalOpinionQA (Durmus et al. 2023)", soft_jensen_shannon,
    ),
    Metric(
        "soft/cross_entropy", "Cross-entropy of respondents' shares, nats", False,
        "cross-entropy with soft labels (Peterson et al. 2019)", soft_cross_entropy,
    ),
    Metric("pass_at_k", "A right one among k samples", True, "Chen et al. 2021", pass_at_k),
    Metric(
        "majority_vote", "Accuracy of the majority vote", True,
        "self-consistency (Wang et al. 2023)", majority_vote,
    ),
    Metric(
        "self_consistency", "Share of the most frequent sample", True,
        "self-consistency (Wang et al. 2023)", self_consistency,
    ),
)  # fmt: skip


def _votes(outcomes: Outcomes) -> np.ndarray:
    """How many samples name each option, [N, M]."""
    options = np.arange(outcomes.sizes.max())
    return (outcomes.predictions[:, :, None] == options).sum(axis=1)


def _surprise(outcomes: Outcomes, expected: np.ndarray) -> np.ndarray:
    """Sum over options of -log p, weighted by `expected` [N, M]; in nats, [N]."""
    if outcomes.has("predictions"):
        votes = _votes(outcomes)
        chances = (votes + 1) / (votes.sum(axis=1) + outcomes.sizes)[:, None]
    else:
        chances = outcomes.probabilities
    nothing = ((chances == 0) & (expected > 0)).any(axis=1).sum()
    if nothing:
        raise LeftOutError(f"an answer has a probability of 0 in {nothing} of {len(outcomes)} rows")
    return -(expected * np.log(np.where(expected > 0, chances, 1))).sum(axis=1)


def _by_cell(outcomes: Outcomes, shared: np.ndarray) -> np.ndarray:
    """Sums of shares of options [N, M] by country and question, [C, cells * M]."""
    codes, sizes = outcomes.cells
    sums = [outcomes.by(codes, len(sizes), column) for column in shared.T]
    return np.stack(sums, axis=-1).reshape(outcomes.num_clusters, -1)


def _soft(outcomes: Outcomes, distance) -> Sums:
    """The distance over rows whose respondents' answers are known."""
    known = outcomes.respondents.sum(axis=1) > 0
    believed = _by_cell(outcomes, outcomes.probabilities * known[:, None])
    sums = of_cells(outcomes, believed, distance, _by_cell(outcomes, shares(outcomes.respondents)))
    return dataclasses.replace(sums, note=_about(known, "have answer_counts; the rest is left out"))


def noted(outcomes: Outcomes, sums: Sums) -> Sums:
    """Says where rows have no probabilities."""
    note = _about(outcomes.told, "have probabilities; the rest counts as even")
    return dataclasses.replace(sums, note=note)


def _about(rows: np.ndarray, what: str) -> str:
    return "" if rows.all() else f"{rows.sum()} of {len(rows)} rows {what}"
